"""How sure a network is: known answers of the sums, and what is told of a segmented image."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from amsam_monai.data.files.loaded_image import LoadedImage
from amsam_monai.segment.doubt import doubtful_slices, known_masks, quality_of, worst
from amsam_monai.segment.quality import FEATURES, SUMS, QualityMeter, features
from amsam_monai.segment.segmenter import Segmenter
from amsam_monai.segment.slice_inferer import SliceInferer


def logits_of(shares):
    """Logits of one class beside background with these probabilities (n, H, W)."""
    shares = torch.as_tensor(shares, dtype=torch.float32)
    return torch.stack([torch.zeros_like(shares), torch.logit(shares)], dim=1)


def measured(shares, parts=None, label=None):
    """Sums (D, SUMS) of the one class."""
    meter, logits = QualityMeter(), logits_of(shares)
    meter(logits, [logits] if parts is None else [logits, *(logits_of(part) for part in parts)])
    label = logits.argmax(1).to(torch.uint8).numpy() if label is None else label
    return meter.sums(label)[:, 0]


def test_confidence_is_the_dice_that_the_probabilities_promise():
    shares = np.full((1, 4, 5), 0.1)
    shares[0, 1:3, 1:3] = 0.9
    told = features(measured(shares)[0])
    assert told["confidence"] == pytest.approx(2 * 3.6 / (3.6 + 1.6 + 4))
    roots = np.sqrt(0.9) / (np.sqrt(0.9) + np.sqrt(0.1))
    assert told["firmness"] == pytest.approx(2 * 4 * roots / (4 * roots + 16 * (1 - roots) + 4), rel=1e-5)
    assert told["whole"] == 1
    assert told["size"] == pytest.approx(math.log10(4 / 20))
    assert math.isnan(told["agreement"])
    assert math.isnan(told["continuity"])


def test_a_sure_network_has_all_but_one():
    shares = np.zeros((1, 6, 6))
    shares[0, 2:5, 2:5] = 1
    told = features(measured(shares.clip(1e-6, 1 - 1e-6))[0])
    assert told["confidence"] == pytest.approx(1, abs=1e-4)
    assert 0.98 < told["firmness"] < told["confidence"]


def test_flips_that_see_something_else_are_told():
    shares = np.full((1, 4, 6), 0.1)
    shares[0, :2, :2] = 0.9
    other = np.full((1, 4, 6), 0.1)
    other[0, :2, 1:3] = 0.9
    told = features(measured(shares, parts=[other])[0])
    assert told["agreement"] == pytest.approx((2 * (4 + 2) / 2) / (4 + 4))  # of itself 4 of 4, of the other 2 of 4
    assert features(measured(shares, parts=[shares])[0])["agreement"] == 1


def test_specks_and_neighbouring_slices_are_told():
    shares = np.full((3, 5, 6), 0.1)
    shares[0, :2, :3] = shares[1, :2, :2] = 0.9
    shares[0, 4, 5] = 0.9  # a speck
    sums = measured(shares)
    first, second, third = (features(one) for one in sums)
    assert first["whole"] == pytest.approx(6 / 7)
    assert first["continuity"] == pytest.approx(2 * 4 / (7 + 4))
    assert second["continuity"] == pytest.approx(2 * 4 / (7 + 4 + 4 + 0))
    case = features(sums.sum(0))
    assert case["continuity"] == pytest.approx(2 * 4 / (7 + 4 + 4))
    assert case["whole"] == pytest.approx(10 / 11)
    assert all(math.isnan(third[name]) for name in FEATURES)
    assert third["mass"] == pytest.approx(math.log10(1 + 30 * 0.1))
    assert third["beside"] == pytest.approx(math.log10(1 + 4))


def test_what_is_taken_away_is_doubt():
    shares = np.full((1, 5, 6), 0.01)
    shares[0, :2, :3] = shares[0, 4, 5] = 0.99
    label = np.zeros((1, 5, 6), np.uint8)
    label[0, :2, :3] = 1
    kept, whole = features(measured(shares, label=label)[0]), features(measured(shares)[0])
    assert kept["whole"] == 1
    assert kept["confidence"] < whole["confidence"]
    assert kept["confidence"] == pytest.approx(2 * 6 * 0.99 / (7 * 0.99 + 23 * 0.01 + 6), rel=1e-5)


def test_batches_do_not_matter_and_classes_are_kept_apart():
    torch.manual_seed(0)
    logits = torch.randn(5, 4, 7, 8)
    whole, parted = QualityMeter(), QualityMeter()
    whole(logits, [logits, logits.flip(0)])
    for start in (0, 2, 4):
        parted(logits[start : start + 2], [logits[start : start + 2], logits.flip(0)[start : start + 2]])
    label = logits.argmax(1).to(torch.uint8).numpy()
    np.testing.assert_allclose(whole.sums(label), parted.sums(label), rtol=1e-6)
    assert whole.sums(label).shape == (5, 3, len(SUMS))
    share, sums = logits.softmax(1), whole.sums(label)
    for k in range(1, 4):
        mask = logits.argmax(1) == k
        np.testing.assert_allclose(sums[:, k - 1, 0], mask.sum((1, 2)))
        np.testing.assert_allclose(sums[:, k - 1, 1], share[:, k].sum((1, 2)), rtol=1e-5)
        np.testing.assert_allclose(sums[:, k - 1, 2], (share[:, k] * mask).sum((1, 2)), rtol=1e-5)


class Grey(nn.Module):
    """The probability of class 1 is the middle channel; class 2 is never there."""

    def forward(self, image):
        shares = image[:, 1].clamp(0.01, 0.99)
        return torch.stack([torch.zeros_like(shares), torch.logit(shares), torch.full_like(shares, -9)], dim=1)


def volume(affine=None):
    """Slice 3 of six is doubtful, the others are clear."""
    array = np.full((8, 7, 6), 0.02, np.float32)
    array[2:5, 2:5, 1:5] = 0.98
    array[2:5, 2:5, 3] = 0.6
    affine = np.diag([1.0, 1.0, 3.0, 1.0]) if affine is None else affine
    return LoadedImage(array, "volume", Path("v.nii"), "nifti", affine=affine)


def segmenter(**options):
    return Segmenter(Grey(), {1: "liver", 2: "spleen"}, intensity={"mode": "none"}, **options)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_slices_are_numbered_as_the_stored_array_counts_them(batch_size, direction):
    image = volume(np.diag([1.0, 1.0, 3.0 * direction, 1.0]))
    result = segmenter(slices={"batch_size": batch_size})(image, quality=True)
    liver = result.quality["liver"]
    assert len(liver["slices"]) == 6
    assert doubtful_slices(result.quality)[0][:2] == (3, "liver")
    assert liver["slices"][2][0] > liver["case"][0] > liver["slices"][3][0]
    assert liver["case"][1] is None  # not calibrated: no error to tell
    assert result.quality["spleen"]["case"] == (1.0, None)
    assert worst(result.quality) == liver["case"][0]


def test_quality_costs_no_voxel_and_is_told_on_request_only():
    plain = segmenter()(volume())
    assert plain.quality == {}
    assert plain.sums is None
    assert worst(plain.quality) is None
    told = segmenter()(volume(), quality=True)
    np.testing.assert_array_equal(plain.label, told.label)
    shares = segmenter()(volume(), quality=True, probabilities=True)
    np.testing.assert_allclose(shares.sums, told.sums)
    assert shares.quality == told.quality
    with pytest.raises(ValueError, match="call the segmenter with quality=True"):
        quality_of(plain, None)


def test_a_picture_has_no_slices():
    pixels = np.zeros((8, 9, 3), np.uint8)
    pixels[2:5, 2:5] = 200
    image = LoadedImage(pixels, "image", Path("p.png"), "picture")
    result = Segmenter(Grey(), {1: "polyp", 2: "tool"}, intensity={"mode": "bit_depth"})(image, quality=True)
    assert result.quality["polyp"]["slices"] == []
    assert doubtful_slices(result.quality) == []
    masks = known_masks(result, result.label, "p")
    assert [(mask.label, mask.slice, mask.dice) for mask in masks] == [("polyp", None, 1.0), ("tool", None, 1.0)]


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_known_masks_have_the_true_dice_of_case_and_slices(direction):
    image = volume(np.diag([1.0, 1.0, 3.0 * direction, 1.0]))
    result = segmenter()(image, quality=True)
    truth = result.label.copy()
    truth[..., 3] = 0
    truth[0, 0, 0] = 2
    masks = {(mask.label, mask.slice): mask for mask in known_masks(result, truth, "a")}
    assert len(masks) == 2 * 7
    assert masks["liver", None].dice == pytest.approx(2 * 27 / (36 + 27))
    assert masks["liver", None].true_size == pytest.approx(math.log10(27 / 336))
    assert [masks["liver", at].dice for at in range(6)] == [1, 1, 1, 0, 1, 1]
    assert [masks["spleen", at].dice for at in range(6)] == [0, 1, 1, 1, 1, 1]
    assert masks["spleen", 0].absent
    assert math.isnan(masks["spleen", 1].true_size)
    assert masks["liver", 3].features["confidence"] < masks["liver", 2].features["confidence"]
    with pytest.raises(ValueError, match=r"truth must have the image's shape \(8, 7, 6\), got \(8, 7\)"):
        known_masks(result, truth[..., 0], "a")


def test_the_inferer_shows_what_it_computes():
    seen = []
    volume = torch.rand(1, 1, 4, 5, 3)
    volume[..., 2] = 0  # blank
    inferer = SliceInferer(axis=2, flips=("horizontal",), batch_size=2, output="labels")
    labels = inferer(volume, Grey(), observe=lambda logits, parts: seen.append((logits, parts)))
    assert [len(logits) for logits, _ in seen] == [2, 1]
    assert all(len(parts) == 2 for _, parts in seen)
    logits = torch.cat([logits for logits, _ in seen])
    assert labels[0, 0].equal(logits.argmax(1).movedim(0, -1).to(torch.uint8))
    assert all(part[0, 0].max() == 0 and part[0, 1:].max() < -20 for part in seen[1][1])
