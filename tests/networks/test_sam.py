from dataclasses import replace

import pytest
import torch
from segment_anything import sam_model_registry

from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.sam.position_tables import resize_position_tables
from amsam_monai.networks.weights.catalogue import CATALOGUE
from amsam_monai.networks.weights.store import digest


@pytest.mark.slow
def test_vit_b_at_1024_equals_segment_anything_on_the_same_random_weights(tmp_path):
    torch.manual_seed(0)
    theirs = sam_model_registry["vit_b"]()
    for parameter in theirs.parameters():  # position tables start at zero: make them count
        parameter.data.add_(torch.randn_like(parameter) * 0.01)
    torch.save(theirs.state_dict(), tmp_path / "vit_b.pth")
    ours = build_sam("vit_b", image_size=1024, weights=tmp_path / "vit_b.pth")
    image = torch.rand(1, 3, 1024, 1024)
    point, box = torch.tensor([[[300.0, 200.0]]]), torch.tensor([[100.0, 80.0, 700.0, 600.0]])
    with torch.no_grad():
        wanted_embedding = theirs.image_encoder(theirs.preprocess(image[0] * 255)[None])
        sparse, dense = theirs.prompt_encoder(points=(point, torch.ones(1, 1)), boxes=box, masks=None)
        wanted, wanted_iou = theirs.mask_decoder(
            image_embeddings=wanted_embedding,
            image_pe=theirs.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        embedding = ours.encode(image)
        output = ours.decode(embedding, ours.sparse(point, torch.ones(1, 1), box), ours.no_mask_dense(1))
    torch.testing.assert_close(embedding, wanted_embedding, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.masks(output)[:, :1], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.iou(output)[:, :1], wanted_iou, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("with_box", [False, True])
def test_tokens_are_those_of_sams_prompt_encoder(nano_sam, with_box):
    points, labels = torch.rand(3, 2, 2) * 64, torch.tensor([[1, 0], [1, 1], [0, 1]])
    boxes = torch.tensor([[1.0, 2, 30, 40], [5, 5, 60, 20], [0, 0, 64, 64]]) if with_box else None
    wanted, _ = nano_sam.prompt_encoder(points=(points, labels), boxes=boxes, masks=None)
    assert torch.equal(nano_sam.sparse(points, labels, boxes), wanted)


def test_rows_of_a_batch_equal_one_by_one(nano_sam):
    embedding = torch.randn(3, 256, 4, 4)
    points, labels = torch.rand(3, 2, 2) * 64, torch.tensor([[1, 0], [1, 1], [0, 1]])
    boxes = torch.tensor([[1.0, 2, 30, 40], [5, 5, 60, 20], [0, 0, 64, 64]])
    with torch.no_grad():
        together = nano_sam.masks(
            nano_sam.decode(embedding, nano_sam.sparse(points, labels, boxes), nano_sam.no_mask_dense(3))
        )
        alone = [
            nano_sam.masks(
                nano_sam.decode(
                    embedding[i : i + 1],
                    nano_sam.sparse(points[i : i + 1], labels[i : i + 1], boxes[i : i + 1]),
                    nano_sam.no_mask_dense(1),
                )
            )
            for i in range(3)
        ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_normalisation_brings_the_fill_colour_to_zero(nano_sam):
    seen = []
    nano_sam.image_encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    nano_sam.encode(nano_sam.fill.expand(1, 3, 64, 64))
    assert seen[0].abs().max() < 1e-6


def test_position_tables_keep_windowed_blocks_and_resize_global_ones():
    state = {
        "pos_embed": torch.rand(1, 64, 64, 8),
        "blocks.0.attn.rel_pos_h": torch.rand(27, 4),
        "blocks.12.attn.rel_pos_h": torch.rand(27, 4),
        "blocks.2.attn.rel_pos_h": torch.rand(127, 4),
        "blocks.2.attn.rel_pos_w": torch.rand(127, 4),
    }
    resized = resize_position_tables(state, grid=16, global_blocks=[2])
    assert resized["pos_embed"].shape == (1, 16, 16, 8)
    assert resized["blocks.2.attn.rel_pos_h"].shape == (31, 4)
    assert resized["blocks.12.attn.rel_pos_h"] is state["blocks.12.attn.rel_pos_h"]


def test_position_tables_of_the_same_size_stay_as_they_are():
    table = torch.rand(1, 4, 4, 8)
    assert resize_position_tables({"pos_embed": table}, grid=4, global_blocks=[])["pos_embed"] is table


def test_weights_of_another_size_load_at_this_size(tmp_path, nano_sam):
    torch.save(nano_sam.state_dict(), tmp_path / "nano.pth")
    larger = build_sam("vit_nano", image_size=96, weights=tmp_path / "nano.pth")
    assert larger.encode(torch.rand(1, 3, 96, 96)).shape == (1, 256, 6, 6)


def test_the_catalogue_says_whether_pixels_are_normalised_and_knows_a_file_by_its_content(
    tmp_path, nano_sam, monkeypatch
):
    folder = tmp_path / "my-medsam-project"
    folder.mkdir()
    file = folder / "nano.pth"
    torch.save(nano_sam.state_dict(), file)
    assert build_sam("vit_nano", image_size=64, weights=file).origin.normalise
    assert not build_sam("vit_nano", image_size=64, weights=file, normalise=False).origin.normalise
    plain = replace(
        CATALOGUE["medsam_vit_b"], digests={"sha256": digest(file)}, size=file.stat().st_size, file="other.pth"
    )
    monkeypatch.setitem(CATALOGUE, "medsam_vit_b", plain)
    sam = build_sam("vit_nano", image_size=64, weights=file)
    assert not sam.origin.normalise
    assert (sam.pixel_mean == 0).all()
    assert build_sam("vit_nano", image_size=64, weights=file, normalise=True).origin.normalise


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "vit_x"}, r"backbone must be one of vit_b, .*, got 'vit_x'"),
        ({"backbone": "vit_nano", "image_size": 100}, "image_size must be a positive multiple of 16, got 100"),
        ({"backbone": "vit_nano", "image_size": 0}, "image_size must be a positive multiple of 16, got 0"),
        ({"backbone": "lite_medsam", "image_size": 512}, "lite_medsam takes image_size 256 only, got 512"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build_sam(**settings)


def test_weights_of_another_backbone_are_refused(tmp_path, nano_sam):
    state = nano_sam.state_dict()
    state.pop("mask_decoder.iou_token.weight")
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"do not fit this backbone .*mask_decoder.iou_token.weight"):
        build_sam("vit_nano", image_size=64, weights=tmp_path / "part.pth")


def test_an_image_of_another_size_is_refused(nano_sam):
    with pytest.raises(ValueError, match=r"pixels must have shape \(B, 3, 64, 64\), got \(1, 3, 64, 80\)"):
        nano_sam.encode(torch.rand(1, 3, 64, 80))


def test_plain_range_backbones_are_not_normalised():
    assert build_sam("vit_nano", image_size=64, normalise=False).fill.abs().max() == 0
