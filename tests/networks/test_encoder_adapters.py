import pytest
import torch
from torch import nn

from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.sam.encoder_adapters import Adapter, add_encoder_adapters
from amsam_monai.networks.systems.amsam import AMSAM


@pytest.mark.parametrize(("backbone", "blocks"), [("vit_nano", 2), ("vit_t", 10)])
def test_an_adapted_encoder_starts_as_it_was_and_only_adapters_train(backbone, blocks):
    torch.manual_seed(0)
    encoder = build_sam(backbone, image_size=64).image_encoder
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = encoder(pixels)
        add_encoder_adapters(encoder, ratio=0.25)
        torch.testing.assert_close(encoder(pixels), before)
    adapters = [module for module in encoder.modules() if isinstance(module, Adapter)]
    assert len(adapters) == 2 * blocks
    trained = {name.split(".")[-2] for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trained == {"down", "up"}


def test_the_bottleneck_lies_behind_or_beside_its_layer():
    layer = nn.Linear(4, 4)
    for behind, scale in ((True, 1.0), (False, 0.5)):
        adapter = Adapter(layer, 4, 2, behind=behind, scale=scale)
        nn.init.ones_(adapter.up.bias)
        nn.init.ones_(adapter.up.weight)
        x = torch.randn(3, 4)
        taken = layer(x) if behind else x
        added = nn.functional.gelu(adapter.down(taken)).sum(-1, keepdim=True) + 1
        torch.testing.assert_close(adapter(x), layer(x) + scale * added)


def test_a_network_with_adapters_keeps_them_in_its_adapter():
    torch.manual_seed(0)
    network = AMSAM(build_sam("vit_nano", image_size=64), encoder_adapters=0.5, decoder="all", lora_rank=0)
    assert not network.encoder_is_frozen
    assert any("image_encoder" in name and "down" in name for name in network.adapter_state_dict())
    assert not any(name.endswith("qkv.weight") for name in network.adapter_state_dict())


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(ValueError, match="must have attention blocks, got a Linear"):
        add_encoder_adapters(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="ratio must be positive, got 0"):
        add_encoder_adapters(nn.Linear(2, 2), ratio=0)
