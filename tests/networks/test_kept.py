"""What is kept between calls is what would be made anew, bit for bit."""

import copy

import pytest
import torch
from torch import nn

from amsam_monai.networks.kept import Kept
from amsam_monai.networks.sam.lora import LoRALinear


def adapted() -> LoRALinear:
    layer = LoRALinear(nn.Linear(6, 9), rank=2, folded=True)
    nn.init.normal_(layer.lora_b[0])
    return layer


def anew(layer: LoRALinear) -> torch.Tensor:
    return torch.add(layer.weight, layer.lora_b[0] @ layer.lora_a[0], alpha=layer.scale)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_weight_is_made_once_and_again_when_anything_in_it_changes(mode):
    layer = adapted()
    with mode():
        first = layer.updated_weight()
        assert torch.equal(first, anew(layer))
        assert layer.updated_weight() is first
    for part in (layer.weight, layer.lora_a[0], layer.lora_b[0]):
        part.data.add_(1.0)  # tells autograd nothing
        with mode():
            assert torch.equal(layer.updated_weight(), anew(layer))
            assert layer.updated_weight() is not first
    with mode():
        assert torch.equal(copy.deepcopy(layer).updated_weight(), anew(layer))
        assert torch.equal(layer.double().updated_weight(), anew(layer))


def test_gradients_reach_the_updates_after_inference():
    layer, x = adapted(), torch.rand(4, 6)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert layer.lora_a[0].grad.abs().sum() > 0
    assert layer.lora_b[0].grad.abs().sum() > 0


def test_what_inference_made_can_be_trained_with():
    kept, source, weight = Kept(), torch.rand(3), nn.Parameter(torch.rand(3))
    with torch.inference_mode():
        kept.of([source], lambda: source * 2)
    (kept.of([source], lambda: source * 2) * weight).sum().backward()
    assert torch.equal(weight.grad, source * 2)


def test_positions_are_kept_until_their_matrix_changes(nano_sam):
    encoder = nano_sam.prompt_encoder
    for _ in range(2):
        assert torch.equal(nano_sam.dense_pe(), encoder.get_dense_pe())
    encoder.pe_layer.positional_encoding_gaussian_matrix.mul_(2)
    assert torch.equal(nano_sam.dense_pe(), encoder.get_dense_pe())


def test_under_autocast_nothing_is_kept():
    layer = adapted()
    with torch.no_grad():
        exact = layer.updated_weight()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not torch.equal(layer.updated_weight(), exact)
        assert layer.updated_weight() is exact
