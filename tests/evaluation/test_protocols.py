"""Empty-mask tables written by hand, and the grids of the papers' evaluators."""

import math

import numpy as np
import pytest
import torch

from amsam_monai.evaluation.scoring import grids
from amsam_monai.evaluation.scoring.case_scores import score_case
from amsam_monai.evaluation.scoring.protocols import PROTOCOLS, get_protocol
from amsam_monai.framing import SquareFrame

NAN = math.nan
# A 6 x 8 picture: its diagonal is 10. Columns: dice, hd95, assd, nsd, iou, sensitivity, precision; None = no column.
#          protocol      missed (label alone)          false (prediction alone)      both empty
TABLE = {
    "strict": [(0, 10, 10, 0, 0, 0, 0), (0, 10, 10, 0, 0, 0, 0), (NAN,) * 7],
    "transunet": [(0, 0, *[None] * 5), (1, 0, *[None] * 5), (0, 0, *[None] * 5)],
    "aisam": [(0, 0, *[None] * 5), (1, 0, *[None] * 5), (1, 0, *[None] * 5)],
    "autosam": [(0, None, None, None, 0, None, None)] * 3,
    "blosam": [(0, *[None] * 6)] * 3,
}
COLUMNS = ("dice", "hd95_vox", "assd_vox", "nsd_2vox", "iou", "sensitivity", "precision")


def block(shape=(6, 8), rows=slice(1, 5), columns=slice(2, 7)):
    mask = np.zeros(shape, np.uint8)
    mask[rows, columns] = 1
    return mask


def score(pred, label, name, **options):
    return score_case(pred, label, {1: "lesion"}, protocol=get_protocol(name), **options)[0]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_empty_masks_score_as_the_table_says(name):
    empty = block() * 0
    cases = [("missed", empty, block()), ("false", block(), empty), ("both_empty", empty, empty)]
    for (outcome, pred, label), expected in zip(cases, TABLE[name], strict=True):
        result = score(pred, label, name)
        assert result.outcome == outcome
        wanted = {column: value for column, value in zip(COLUMNS, expected, strict=True) if value is not None}
        assert result.values == pytest.approx(wanted, nan_ok=True), outcome


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_perfect_prediction_scores_one(name):
    mask = block((96, 128), slice(20, 70), slice(30, 100))
    result = score(mask, mask, name)
    assert result.outcome == "scored"
    assert result.values["dice"] == pytest.approx(1.0, abs=0.02 if name == "autosam" else 0)


def test_strict_counts_a_missed_organ_in_millimetres():
    label = np.zeros((6, 8, 5), np.uint8)
    label[2:4, 2:4, 2:4] = 1
    values = score(label * 0, label, "strict", spacing_mm=(2.0, 1.0, 0.5)).values
    assert values["hd95_mm"] == pytest.approx(math.sqrt(12**2 + 8**2 + 2.5**2))
    assert "hd95_vox" not in values
    assert "nsd_2mm" in values


def test_a_published_protocol_measures_in_voxels_even_where_the_spacing_is_known():
    values = score(block(columns=slice(3, 8)), block(), "transunet", spacing_mm=(3.0, 3.0)).values
    assert values == {"dice": pytest.approx(2 * 16 / 40), "hd95_vox": 1.0}


def test_an_axis_of_length_one_is_no_surface():
    flat = score(block(columns=slice(3, 8)), block(), "strict").values
    volume = score(block(columns=slice(3, 8))[..., None], block()[..., None], "strict").values
    assert volume == flat


def test_ignored_voxels_are_never_scored():
    label, pred = block(), block()
    label[0], pred[0] = 255, 1
    assert score(pred, label, "strict").values["precision"] == 1.0


def test_aisam_keeps_every_second_row_of_a_512_label():
    assert grids.aisam_indices(512).tolist() == list(range(1, 512, 2))
    assert len(grids.aisam_indices(224)) == 256


def test_aisam_halves_distances_in_the_plane_of_a_512_image():
    """A 200 px box that grew by 40 px on one side: its HD95 is 40 native pixels and 20 of that grid."""
    label, pred = np.zeros((2, 512, 512), np.uint8)
    label[150:350, 150:350], pred[150:350, 150:390] = 1, 1
    coarse = score(pred, label, "aisam").values["hd95_vox"]
    native = score(pred, label, "transunet").values["hd95_vox"]
    assert (native, coarse) == (40.0, 20.0)


def test_blosam_samples_rows_as_two_zooms_in_a_row_do():
    from scipy.ndimage import zoom

    label = np.arange(97)
    assert grids.blosam_indices(97).tolist() == zoom(zoom(label, 256 / 97, order=0), 64 / 256, order=0).tolist()


def test_autosam_does_not_count_fractional_boundary_pixels():
    """A disc as in the MoNuSeg row of the reference: 1000 px, radius 10, a 512 grid ignores about a fifth of it."""
    rows, columns = np.ogrid[:1000, :1000]
    disc = torch.from_numpy((rows - 500) ** 2 + (columns - 500) ** 2 <= 100)
    counted = grids.autosam_label(disc, 512)
    share = (counted == 255).sum() / (counted > 0).sum()
    assert 0.1 < share < 0.35


def discs(height, width, radius, count):
    """Discs strewn at random, one in the middle."""
    rows, columns = np.ogrid[:height, :width]
    draw = np.random.default_rng(0)
    centres = draw.uniform(radius, (height - radius, width - radius), (count - 1, 2))
    centres = np.concatenate([[[height / 2, width / 2]], centres])
    return np.any([(rows - y) ** 2 + (columns - x) ** 2 <= radius**2 for y, x in centres], axis=0)


@pytest.mark.parametrize(
    ("shape", "radius", "count", "side", "published", "native"),
    [
        ((1000, 1000), 10, 100, 512, 0.963, 0.857),  # as in MoNuSeg
        ((522, 775), 45, 8, 256, 0.996, 0.981),  # as in GlaS
        ((288, 384), 60, 1, 352, 0.996, 0.990),  # as polyps
    ],
)
def test_autosam_flatters_small_discs_as_the_published_evaluation_does(shape, radius, count, side, published, native):
    """The truth on the decoder's 256 grid as prediction; Dice as the reference measured it on discs of its own."""
    label = torch.from_numpy(discs(*shape, radius, count)).long()[None]
    frame = SquareFrame(*shape, 1024)
    square = (frame.image(label[None].float()) > 0.5).float()
    grid = torch.nn.functional.interpolate(square, (256, 256), mode="nearest")
    protocol = get_protocol("autosam", side=side)
    maps = protocol.from_logits(torch.cat([0 * grid, 2 * grid - 1], 1), label)
    found = score_case(*maps, {1: "disc"}, protocol=protocol, on_grid=True)[0].values["dice"]
    assert found == pytest.approx(published, abs=0.005)
    restored = (frame.restore(grid)[0, 0] > 0.5).numpy()
    strict = score_case(restored, label[0].numpy(), {1: "disc"}, protocol=get_protocol("strict"))[0].values["dice"]
    assert strict == pytest.approx(native, abs=0.016)


def test_autosam_scores_pictures_of_one_class_only():
    with pytest.raises(ValueError, match="scores one class, got 2"):
        score_case(block(), block(), {1: "a", 2: "b"}, protocol=get_protocol("autosam"))
    with pytest.raises(ValueError, match="scores pictures"):
        score(np.ones((4, 4, 4), np.uint8), np.ones((4, 4, 4), np.uint8), "blosam")


def logits_of(labels, classes, sharp=9.0):
    """(D, H, W) class indices -> (D, K+1, H, W) logits that say so."""
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float() * sharp


def test_logits_and_label_maps_give_the_same_native_scores():
    labels = torch.from_numpy(np.stack([block(), block(rows=slice(2, 6))])).long()
    pred, label = get_protocol("transunet").from_logits(logits_of(labels, 2), labels)
    assert pred.shape == (6, 8, 2)
    assert (pred == label).all()


def test_aisam_deletes_a_class_that_the_classifier_calls_absent():
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[:, 10:40, 10:40] = 1
    protocol = get_protocol("aisam")
    logits = logits_of(labels, 2)
    assert protocol.from_logits(logits, labels)[0].any()
    assert not protocol.from_logits(logits, labels, presence=torch.tensor([[0.4]]))[0].any()
    assert protocol.from_logits(logits, labels, presence=torch.tensor([[0.6]]))[0].any()
    assert protocol.from_logits(logits, labels)[0].shape == (256, 256)


def test_autosam_logits_are_cut_at_half_their_range():
    labels = torch.zeros(1, 64, 96, dtype=torch.long)
    labels[:, 20:40, 30:60] = 1
    logits = logits_of(labels, 2)
    logits[:, 1] -= 5.0  # a sigmoid would call everything background but the blob; the range does not care
    pred, label = get_protocol("autosam", side=128).from_logits(logits, labels)
    result = score_case(pred, label, {1: "polyp"}, protocol=get_protocol("autosam", side=128), on_grid=True)[0]
    assert pred.shape == (128, 128)
    assert result.values["dice"] > 0.95


def test_blosam_logits_are_scored_on_64_pixels():
    labels = torch.zeros(1, 256, 256, dtype=torch.long)
    labels[:, 64:128, 64:128] = 1
    pred, label = get_protocol("blosam").from_logits(logits_of(labels, 2), labels)
    assert pred.shape == label.shape == (64, 64)


def test_unknown_protocols_and_stray_sides_are_refused():
    with pytest.raises(ValueError, match="protocol must be one of strict"):
        get_protocol("medpy")
    with pytest.raises(ValueError, match="side belongs to protocol autosam"):
        get_protocol("strict", side=352)


def test_logits_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="logits must be"):
        get_protocol().from_logits(torch.zeros(2, 2, 4, 4), torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match="one foreground class"):
        get_protocol("autosam").from_logits(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="pictures one by one"):
        get_protocol("blosam").from_logits(torch.zeros(2, 2, 4, 4), torch.zeros(2, 4, 4))
