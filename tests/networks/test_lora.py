import pytest
import torch
from torch import nn

from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.sam.lora import LoRALinear, add_decoder_lora, add_encoder_lora, merge_lora, qkv_rows


def lora_parameters(module: nn.Module) -> int:
    return sum(p.numel() for name, p in module.named_parameters() if "lora_" in name)


def randomise(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if "lora_b" in name:
            nn.init.normal_(parameter)


def test_the_decoder_gets_as_many_parameters_as_blo_sam(nano_sam):
    add_decoder_lora(nano_sam.mask_decoder, rank=4)
    assert lora_parameters(nano_sam) == 23_552
    assert sum("lora_" in name for name, _ in nano_sam.named_parameters()) == 28


@pytest.mark.parametrize(("width", "depth", "count"), [(768, 12, 147_456), (1024, 24, 393_216), (1280, 32, 655_360)])
def test_the_encoder_gets_as_many_parameters_as_sam_ed(width, depth, count):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(width, 3 * width)

    encoder = nn.Sequential(*(Attention() for _ in range(depth)))
    add_encoder_lora(encoder, rank=4)
    assert lora_parameters(encoder) == count


def test_the_update_starts_at_zero(nano_sam):
    image = torch.rand(1, 3, 64, 64)
    before = nano_sam.encode(image)
    add_encoder_lora(nano_sam.image_encoder)
    torch.testing.assert_close(nano_sam.encode(image), before)


def test_only_the_named_rows_change():
    linear = nn.Linear(6, 9)
    adapted = LoRALinear(linear, rank=2, parts=[torch.arange(0, 3), torch.arange(6, 9)])
    randomise(adapted)
    x = torch.rand(5, 6)
    difference = (adapted(x) - nn.functional.linear(x, linear.weight, linear.bias)).abs().amax(0)
    assert (difference[3:6] == 0).all()
    assert (difference[[0, 1, 2, 6, 7, 8]] > 0).all()


def test_rows_of_tiny_vit_are_interleaved_per_head():
    class Attention(nn.Module):
        num_heads, key_dim = 2, 2

        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(4, 12)

    rows = qkv_rows(Attention())
    assert rows["q"].tolist() == [0, 1, 6, 7]
    assert rows["k"].tolist() == [2, 3, 8, 9]
    assert rows["v"].tolist() == [4, 5, 10, 11]


def test_a_is_kaiming_uniform_with_bound_one_over_root_of_inputs():
    torch.manual_seed(0)
    adapted = LoRALinear(nn.Linear(256, 256), rank=4)
    assert 0.9 / 16 < adapted.lora_a[0].abs().max() <= 1 / 16
    assert adapted.lora_b[0].abs().max() == 0


@pytest.mark.parametrize("alpha", [None, 8.0])
def test_merging_keeps_the_outputs(nano_sam, alpha):
    add_decoder_lora(nano_sam.mask_decoder, alpha=alpha)
    add_encoder_lora(nano_sam.image_encoder, alpha=alpha)
    randomise(nano_sam)
    nano_sam.double()
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)

    def masks():
        embedding = nano_sam.encode(image)
        sparse = torch.zeros(1, 0, 256, dtype=torch.float64)
        dense = torch.zeros(1, 256, 4, 4, dtype=torch.float64)
        nano_sam.dense_pe = lambda: torch.zeros(1, 256, 4, 4, dtype=torch.float64)
        return nano_sam.masks(nano_sam.decode(embedding, sparse, dense))

    with torch.no_grad():
        before = masks()
        merge_lora(nano_sam)
        assert lora_parameters(nano_sam) == 0
        torch.testing.assert_close(masks(), before, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("parts", [None, [torch.arange(0, 3), torch.arange(6, 9)]])
def test_folded_updates_give_the_same_outputs_and_gradients(parts):
    x, answers = torch.randn(5, 4, 6), []
    for folded in (False, True):
        torch.manual_seed(0)
        adapted = LoRALinear(nn.Linear(6, 12), rank=2, alpha=8, parts=parts, folded=folded)
        for matrix in adapted.lora_b:
            nn.init.normal_(matrix)
        y = adapted(x)
        y.square().sum().backward()
        answers.append([y.detach(), *(p.grad for p in adapted.parameters() if p.requires_grad)])
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_plain_weights_still_load_after_lora(nano_sam):
    state = {name: value.clone() for name, value in nano_sam.state_dict().items()}
    add_decoder_lora(nano_sam.mask_decoder)
    missing, unexpected = nano_sam.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("lora_" in name for name in missing)


def test_the_layer_itself_is_frozen():
    adapted = LoRALinear(nn.Linear(4, 4))
    assert [name for name, p in adapted.named_parameters() if p.requires_grad] == ["lora_a.0", "lora_b.0"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LoRALinear(nn.Linear(4, 4), rank=0), "rank must be at least 1, got 0"),
        (lambda: add_encoder_lora(nn.Linear(4, 4)), "image encoder must have fused qkv projections, got a Linear"),
        (lambda: add_encoder_lora(nn.Linear(4, 4), projections=["o"]), "projections must be of q, k and v"),
        (
            lambda: add_decoder_lora(build_sam("vit_nano", image_size=64).mask_decoder, projections=["w"]),
            "projections must be of q, k, v and out",
        ),
    ],
)
def test_what_cannot_be_adapted_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
