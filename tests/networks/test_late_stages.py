"""The later half of an encoder trains, what comes before keeps its weights and gets no gradient."""

import pytest
import torch
from torch import nn

from amsam_monai import AMSAM, build_sam
from amsam_monai.networks.sam.late_stages import late_stages


@pytest.mark.parametrize(
    ("backbone", "early", "late"),
    [
        ("vit_t", ("patch_embed.", "layers.0.", "layers.1."), ("layers.2.", "layers.3.", "neck.")),
        ("vit_nano", ("pos_embed", "patch_embed.", "blocks.0."), ("blocks.1.", "neck.")),
    ],
)
def test_late_stages_train_alone(backbone, early, late):
    sam = build_sam(backbone, image_size=64, weights=None)
    net = AMSAM(sam, num_classes=2, calibration="none", lora_rank=0, decoder="all", encoder="late").train()
    assert not net.encoder_is_frozen
    net(torch.rand(1, 3, 64, 64)).square().mean().backward()
    for name, parameter in sam.image_encoder.named_parameters():
        assert parameter.requires_grad == name.startswith(late) != name.startswith(early), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
    adapter = [name for name in net.adapter_state_dict() if name.startswith("sam.image_encoder.")]
    assert adapter
    assert all(name.removeprefix("sam.image_encoder.").startswith(late) for name in adapter)


def test_an_encoder_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="must have layers or blocks, and a neck, got Linear"):
        late_stages(nn.Linear(2, 2))
