"""Confusion matrices by hand, Proposition 2 on random features, and a run of a tiny SAM."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from amsam_monai.cli import app
from amsam_monai.evaluation.prompting.confusion import (
    Confusion,
    class_cells,
    confusion_matrices,
    correlation,
    output_confusion,
    prompt_confusion,
    prompt_features,
    prompted_masks,
    semantic_similarity,
)
from amsam_monai.evaluation.prompting.confusion_plot import confusion_json, plot_confusion
from amsam_monai.evaluation.prompting.confusion_samples import image_pairs, labelled_slices
from amsam_monai.evaluation.prompting.prompters import BoxPrompter, PointPrompter, SystemPrompter
from amsam_monai.framing import SquareFrame
from amsam_monai.networks.prompts import Prompts, Segmentation

NAN = float("nan")


def label_map():
    """A ring (1) round a disc (2), as Myo round LV."""
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    radius = ((rows - 24) ** 2 + (columns - 32) ** 2).sqrt()
    return (radius < 16).long() + (radius < 8).long()


def masks_of(label):
    return label == torch.arange(3)[:, None, None]


def test_similarity_takes_the_best_feature_of_the_prompt_for_each_cell():
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    prompt = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    assert semantic_similarity(features, prompt) == pytest.approx((1 + 0.5**0.5) / 2)
    assert semantic_similarity(features, -prompt[:1]) == 0.0
    assert semantic_similarity(features[:0], prompt).isnan()
    assert semantic_similarity(features, prompt[:0]).isnan()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    sizes=st.tuples(st.integers(2, 6), st.integers(1, 5), st.integers(1, 5)),
)
def test_adding_points_never_lowers_true_or_false_similarity(seed, sizes):
    """Proposition 2: neither TSS (the diagonal) nor FSS (the rest) falls."""
    grid, fewer, more = sizes
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(5, grid, grid, generator=generator, dtype=torch.float64)
    cells = torch.randint(0, 3, (grid, grid), generator=generator) == torch.arange(3)[:, None, None]
    points = [torch.randn(fewer + more, 5, generator=generator, dtype=torch.float64) for _ in range(3)]
    before = prompt_confusion(embedding, cells, [found[:fewer] for found in points])
    after = prompt_confusion(embedding, cells, points)
    there = ~before.isnan()
    assert (after[there] >= before[there] - 1e-12).all()  # the sums round


def test_the_output_matrix_has_the_share_of_each_class_that_a_mask_covers():
    masks = masks_of(label_map())
    predicted = masks.float()
    predicted[1] = (masks[1] | masks[2]).float()  # the ring's prompt gives the whole disc
    predicted[0] = NAN  # background was not prompted
    matrix = output_confusion(predicted, masks)
    assert matrix[0].isnan().all()
    assert matrix[1].tolist() == [0.0, 1.0, 1.0]
    assert matrix[2].tolist() == [0.0, 0.0, 1.0]


def test_a_class_that_is_not_there_has_no_column():
    masks = masks_of(label_map().clamp(max=1))
    assert output_confusion(masks.float(), masks)[:, 2].isnan().all()


def test_cells_belong_to_the_class_at_their_centre_and_padding_to_none():
    label = torch.zeros(8, 16, dtype=torch.long)
    label[:4, 8:] = 1
    cells = class_cells(label, 1, SquareFrame(8, 16, 16), 4)
    assert cells[1].nonzero().tolist() == [[0, 2], [0, 3]]
    assert cells[0].sum() == 6  # the upper half of the square, less the class; the lower half is padding


def test_a_point_stands_for_its_cell_and_a_box_for_the_mean_of_its_cells():
    embedding = torch.arange(16.0).reshape(1, 4, 4)
    frame = SquareFrame(16, 16, 16)
    points = torch.tensor([[[[5.0, 0.0], [15.0, 15.0]], [[0.0, 5.0], [NAN, NAN]]]])
    found = prompt_features(embedding, Prompts(points_xy=points, point_labels=torch.ones(1, 2, 2)), frame)
    assert [part.flatten().tolist() for part in found] == [[1.0, 15.0], [4.0]]
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0], [9.0, 9.0, 9.5, 9.5], [NAN] * 4]])
    found = prompt_features(embedding, Prompts(box_xyxy=boxes), frame)
    assert [part.flatten().tolist() for part in found] == [[2.5], [10.0], []]


def test_negative_points_do_not_stand_for_a_class():
    points = torch.zeros(1, 1, 2, 2)
    signs = torch.tensor([[[1, 0]]])
    found = prompt_features(torch.ones(3, 4, 4), Prompts(points_xy=points, point_labels=signs), SquareFrame(8, 8, 16))
    assert found[0].shape == (1, 3)


def test_random_points_lie_in_their_class_and_are_nested():
    masks = masks_of(label_map())
    one = PointPrompter(1)(torch.zeros(1), masks, 7).points_xy
    four = PointPrompter(4)(torch.zeros(1), masks, 7).points_xy
    assert torch.equal(four[:, :, :1], one)
    for index, points in enumerate(four[0].long()):
        assert masks[index, points[:, 1], points[:, 0]].all()
    assert not torch.equal(PointPrompter(4)(torch.zeros(1), masks, 8).points_xy, four)


def test_a_class_of_two_pixels_gives_two_points_of_four():
    masks = torch.zeros(2, 5, 5, dtype=torch.bool)
    masks[0, 0, :2] = True
    points = PointPrompter(4)(torch.zeros(1), masks, 0).points_xy
    assert points.isnan().any(-1).sum(-1).tolist() == [[2, 4]]


def test_tight_boxes_have_edges_round_their_class():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[1, 2:5, 3:7] = True
    boxes = BoxPrompter()(torch.zeros(1), masks, 0).box_xyxy
    assert boxes[0, 0].isnan().all()
    assert boxes[0, 1].tolist() == [3.0, 2.0, 7.0, 5.0]


def test_a_system_prompts_its_foreground_classes():
    class TwoClasses:
        def segment(self, image):
            boxes = torch.tensor([[[1.0, 1.0, 5.0, 5.0], [2.0, 2.0, 4.0, 4.0]]])
            points = torch.zeros(1, 2, 1, 2)
            signs = torch.ones(1, 2, 1, dtype=torch.long)
            return Segmentation(torch.zeros(1), Prompts(points, signs, boxes))

    prompts = SystemPrompter(TwoClasses())(torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8), 0)
    assert prompts.box_xyxy.shape == (1, 3, 4)
    assert prompts.box_xyxy[0, 0].isnan().all()
    assert prompts.points_xy[0, 0].isnan().all()
    with pytest.raises(ValueError, match="prompts must be of 4 classes, got 2"):
        SystemPrompter(TwoClasses())(torch.zeros(1, 3, 8, 8), torch.zeros(5, 8, 8), 0)


def test_a_tiny_sam_gives_matrices_of_every_kind(nano_sam):
    torch.manual_seed(0)
    samples = [(torch.rand(1, 3, 48, 64), label_map()), (torch.rand(1, 3, 48, 64), label_map().clamp(max=1))]
    prompters = {"1 point": PointPrompter(1), "4 points": PointPrompter(4), "box": BoxPrompter()}
    found = confusion_matrices(nano_sam, samples, 2, prompters)
    assert list(found) == list(prompters)
    for confusion in found.values():
        assert confusion.images == 2
        assert confusion.pcm.shape == confusion.ocm.shape == (3, 3)
        assert np.nanmin(confusion.pcm) >= 0
        assert np.nanmax(confusion.ocm) <= 1
    assert not (found["4 points"].pcm < found["1 point"].pcm - 1e-6).any()  # Proposition 2 on nested draws
    with pytest.raises(ValueError, match="at least one image"):
        confusion_matrices(nano_sam, [], 2, prompters)


def test_masks_are_made_of_points_that_are_there(nano_sam):
    frame = SquareFrame(48, 64, 64)
    embedding = nano_sam.encode(torch.rand(1, 3, 64, 64))
    points = torch.tensor([[[[5.0, 5.0], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]]])
    masks = prompted_masks(nano_sam, embedding, Prompts(points, torch.ones(1, 2, 2)), frame)
    assert masks.shape == (2, 48, 64)
    assert not masks[0].isnan().any()
    assert masks[1].isnan().all()
    with pytest.raises(ValueError, match="points or boxes"):
        prompted_masks(nano_sam, embedding, Prompts(), frame)


def test_correlation_is_pearsons_over_what_both_have():
    pcm, ocm = np.array([[0.0, 1.0], [2.0, NAN]]), np.array([[1.0, 3.0], [5.0, 9.0]])
    assert correlation(pcm, ocm) == pytest.approx(1.0)
    assert np.isnan(correlation(pcm * 0, ocm))
    assert np.isnan(correlation(pcm[:1], ocm[:1]))


def test_matrices_are_drawn_and_kept_as_json(tmp_path):
    matrix = np.array([[0.5, NAN], [0.1, 0.9]])
    matrices = {"box": Confusion(matrix, matrix, 3)}
    plot_confusion(matrices, ["None", "lesion"], tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size[0] > 200
    content = confusion_json(matrices, ["None", "lesion"])
    assert content["ocm"]["box"] == [[0.5, None], [0.1, 0.9]]
    assert content["correlation"] == {"box": 1.0, "all": 1.0}
    assert json.loads(json.dumps(content, allow_nan=False)) == content


@pytest.fixture
def acdc_like(tmp_path):
    """One volume beside its label, as ACDC has them: three slices, one of them without a heart."""
    label = np.zeros((48, 64, 3), np.uint8)
    label[..., 0] = label[..., 1] = label_map().numpy()
    image = label.astype(np.int16) * 900 + 50
    folder = tmp_path / "data" / "p1"
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image(image, np.diag([1.5, 1.5, 8.0, 1.0])), folder / "p1_frame01.nii.gz")
    nib.save(nib.Nifti1Image(label, np.diag([1.5, 1.5, 8.0, 1.0])), folder / "p1_frame01_gt.nii.gz")
    return tmp_path


def test_slices_with_a_label_are_taken_from_volumes_beside_their_labels(acdc_like):
    pairs = image_pairs(acdc_like / "data", acdc_like / "data")
    samples = list(labelled_slices(pairs, {1: "Myo", 2: "LV"}))
    assert len(samples) == 2
    image, label = samples[0]
    assert image.shape[:2] == (1, 3)
    assert image.shape[-2:] == label.shape
    assert image.min() >= 0
    assert image.max() <= 1
    assert image[0, 0][label == 2].min() > image[0, 0][label == 1].max()  # image and label are turned alike
    assert len(list(labelled_slices(pairs, {1: "Myo", 2: "LV"}, per_case=1))) == 1


def test_confusion_writes_a_picture_and_numbers(acdc_like, monkeypatch):
    from amsam_monai.cli import confusion as command
    from amsam_monai.networks.sam import build_sam

    torch.manual_seed(0)
    monkeypatch.setattr(command, "build", lambda weights, backbone, size: build_sam("vit_nano", image_size=size))
    result = CliRunner().invoke(
        app,
        ["confusion", str(acdc_like / "data"), str(acdc_like / "data"), "--labels", "1=Myo,2=LV",
         "--out", str(acdc_like / "out"), "--image-size", "64"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads((acdc_like / "out" / "confusion.json").read_text(encoding="utf-8"))
    assert content["labels"] == ["None", "Myo", "LV"]
    assert content["images"] == 2
    assert set(content["ocm"]) == {"1 point", "4 points", "box"}
    assert (acdc_like / "out" / "confusion.png").stat().st_size > 1000
    assert "Proposition 1" in result.output


def test_confusion_refuses_what_is_no_number_of_points(acdc_like):
    result = CliRunner().invoke(
        app, ["confusion", "a", "b", "--labels", "1=x", "--out", str(acdc_like), "--points", "few"]
    )
    assert result.exit_code == 1
    assert "points must be numbers" in result.output
