"""SAM's ViT in less time and memory: the outputs and gradients of segment-anything's blocks."""

import copy

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT

from amsam_monai.networks.sam import vit
from amsam_monai.networks.sam.encoder_adapters import add_encoder_adapters
from amsam_monai.networks.sam.lora import add_encoder_lora


def encoders(image_size=224, window=5):
    """Segment-anything's encoder with random position tables, and a lean copy: one block of windows, one of all."""
    torch.manual_seed(0)
    theirs = ImageEncoderViT(
        img_size=image_size,
        embed_dim=24,
        depth=2,
        num_heads=2,
        out_chans=8,
        use_rel_pos=True,
        window_size=window,
        global_attn_indexes=(1,),
    )
    for parameter in theirs.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return theirs.eval(), vit.lean(copy.deepcopy(theirs)).eval()


@pytest.mark.parametrize("image_size", [224, 240])  # 14 cells are no multiple of the window, 15 are
@pytest.mark.parametrize("tiled", [True, False])
def test_the_outputs_are_segment_anythings(image_size, tiled, monkeypatch):
    theirs, ours = encoders(image_size)
    monkeypatch.setattr(vit, "TILED", 1 if tiled else 10**6)
    monkeypatch.setattr(vit, "TILE", 40)  # a last tile of fewer rows
    image = torch.rand(2, 3, image_size, image_size)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=1e-5)


def test_tiles_are_for_what_learns_nothing(monkeypatch):
    theirs, ours = encoders()
    used = []
    monkeypatch.setattr(vit, "TILED", 1)
    tiles = vit._attend_by_tiles
    monkeypatch.setattr(vit, "_attend_by_tiles", lambda *given: used.append(1) or tiles(*given))
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        ours(image)
    assert used == [1, 1]
    for encoder in (theirs, ours):
        encoder(image).square().mean().backward()
    assert used == [1, 1]
    wanted = dict(theirs.named_parameters())
    assert wanted.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name].grad, atol=1e-5, rtol=1e-4)


def test_a_state_dict_of_segment_anything_loads_and_is_given_back():
    theirs, ours = encoders()
    state = {name: value + 1 for name, value in theirs.state_dict().items()}
    ours.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("add", [add_encoder_lora, add_encoder_adapters])
def test_updates_of_the_encoder_see_image_cells_alone(add):
    theirs, ours = encoders()
    image = torch.rand(1, 3, 224, 224)
    for encoder in (theirs, ours):
        torch.manual_seed(1)
        add(encoder)
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.data.normal_(0, 0.1)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=1e-5)
