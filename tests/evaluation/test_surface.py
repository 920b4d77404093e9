"""Surface distances against medpy, MONAI and surface-distance, and by hand."""

import numpy as np
import pytest
from medpy.metric import binary as medpy
from scipy.ndimage import gaussian_filter

from amsam_monai.evaluation.scoring.case_scores import score_case
from amsam_monai.evaluation.scoring.overlap import count_overlap, dice, iou, precision, sensitivity
from amsam_monai.evaluation.scoring.surface import assd, border, hd95, joint_box, nsd, surface_distances

PAIRS = 200


def random_pair(seed):
    """Two masks and a spacing: blobs in 2D or 3D, some touching the border, single voxels, disjoint or empty."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(5, 22, size=rng.integers(2, 4)))
    spacing = rng.uniform(0.3, 5.0, size=len(shape)) if seed % 3 else np.ones(len(shape))

    def blob():
        field = gaussian_filter(rng.normal(size=shape), rng.uniform(0.6, 2.5))
        return field > np.quantile(field, rng.uniform(0.5, 0.97))

    def voxel():
        mask = np.zeros(shape, bool)
        mask[tuple(rng.integers(0, shape))] = True
        return mask

    def at_border():
        mask = np.zeros(shape, bool)
        mask[tuple(slice(0, int(rng.integers(1, length))) for length in shape)] = True
        return mask

    kinds = [blob, blob, voxel, at_border, lambda: np.zeros(shape, bool), lambda: np.ones(shape, bool)]
    pred, label = kinds[rng.integers(6)](), kinds[rng.integers(6)]()
    return pred, label, spacing


def test_two_hundred_random_pairs_agree_with_medpy():
    kinds = {"both": 0, "one": 0, "none": 0}
    for seed in range(PAIRS):
        pred, label, spacing = random_pair(seed)
        counts = count_overlap(pred, label)
        if not (pred.any() or label.any()):
            kinds["none"] += 1
            assert np.isnan(dice(counts))
            continue
        assert dice(counts) == pytest.approx(medpy.dc(pred, label), abs=1e-6)
        assert iou(counts) == pytest.approx(medpy.jc(pred, label), abs=1e-6)
        if not (pred.any() and label.any()):
            kinds["one"] += 1
            with pytest.raises(RuntimeError, match="does not contain"):
                medpy.hd95(pred, label, spacing)
            with pytest.raises(ValueError, match="empty"):
                surface_distances(pred, label, spacing)
            continue
        kinds["both"] += 1
        distances = surface_distances(pred, label, spacing)
        assert hd95(distances) == pytest.approx(medpy.hd95(pred, label, spacing), abs=1e-6)
        assert assd(distances) == pytest.approx(medpy.assd(pred, label, spacing), abs=1e-6)
        assert sensitivity(counts) == pytest.approx(medpy.sensitivity(pred, label), abs=1e-6)
        assert precision(counts) == pytest.approx(medpy.precision(pred, label), abs=1e-6)
    assert min(kinds.values()) >= 3
    assert kinds["both"] >= 120


def test_scores_of_a_case_agree_with_medpy_through_the_crops():
    label, pred = np.zeros((2, 30, 25, 20), np.uint8)
    label[3:12, 4:20, 2:9], label[15:, 10:, 10:] = 1, 2
    pred[4:14, 3:18, 2:10], pred[14:, 12:, 9:] = 1, 2
    spacing = (0.7, 1.3, 4.0)
    for score, index in zip(score_case(pred, label, {1: "a", 2: "b"}, spacing_mm=spacing), (1, 2), strict=True):
        masks = pred == index, label == index
        assert score.values["dice"] == pytest.approx(medpy.dc(*masks), abs=1e-6)
        assert score.values["hd95_mm"] == pytest.approx(medpy.hd95(*masks, spacing), abs=1e-6)
        assert score.values["assd_mm"] == pytest.approx(medpy.assd(*masks, spacing), abs=1e-6)


def monai_masks(pred, label):
    import torch

    return torch.from_numpy(pred)[None, None].float(), torch.from_numpy(label)[None, None].float()


def test_definitions_shared_with_monai_agree():
    """NSD and ASSD; its HD95 takes the larger of two percentiles where ours and medpy's pool the distances."""
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    for seed in range(0, 60):
        pred, label, spacing = random_pair(seed)
        if not (pred.any() and label.any()):
            continue
        distances = surface_distances(pred, label, spacing)
        options = {"include_background": True, "spacing": spacing.tolist()}
        masks = monai_masks(pred, label)
        assert nsd(distances, 2.0) == pytest.approx(
            float(compute_surface_dice(*masks, class_thresholds=[2.0], **options)), abs=1e-6
        )
        symmetric = float(compute_average_surface_distance(*masks, symmetric=True, **options))
        assert assd(distances) == pytest.approx(symmetric, rel=1e-6, abs=1e-6)
        percentiles = [np.percentile(part, 95) for part in (distances.from_pred, distances.from_label)]
        theirs = float(compute_hausdorff_distance(*masks, percentile=95, **options))
        assert max(percentiles) == pytest.approx(theirs, rel=1e-6, abs=1e-6)


def test_definitions_shared_with_surface_distance_agree():
    """Its surface lies between voxels, so only overlap and the distance of parallel surfaces are the same."""
    google = pytest.importorskip("surface_distance")
    pred, label = np.zeros((2, 20, 30), bool)
    label[5:15, 5:12], pred[5:15, 9:16] = True, True  # moved by 4 columns of 2 mm
    spacing = (1.0, 2.0)
    theirs = google.compute_surface_distances(label, pred, spacing)
    ours = surface_distances(pred, label, spacing)
    assert google.compute_robust_hausdorff(theirs, 100) == 8.0
    assert max(ours.from_pred.max(), ours.from_label.max()) == 8.0
    assert google.compute_dice_coefficient(label, pred) == dice(count_overlap(pred, label))


def test_two_single_voxels_are_as_far_apart_as_their_centres():
    pred, label = np.zeros((2, 9, 9, 9), bool)
    pred[1, 2, 3], label[4, 2, 7] = True, True
    distances = surface_distances(pred, label, (1.0, 1.0, 1.0))
    assert hd95(distances) == assd(distances) == 5.0
    assert nsd(distances, 5.0) == 1.0
    assert nsd(distances, 4.9) == 0.0


def test_spacing_scales_each_axis():
    pred, label = np.zeros((2, 5, 5), bool)
    pred[0, 0], label[3, 4] = True, True
    assert hd95(surface_distances(pred, label, (2.0, 0.5))) == pytest.approx(np.hypot(6.0, 2.0))


def test_the_border_of_a_block_is_its_hull_even_at_the_image_edge():
    block = np.ones((4, 4), bool)
    assert border(block).sum() == 12
    assert border(np.ones((3, 3, 3), bool)).sum() == 26


def test_the_joint_box_holds_both_masks():
    pred, label = np.zeros((2, 9, 9), bool)
    pred[2, 3], label[5, 1] = True, True
    assert joint_box(pred, label) == (slice(2, 6), slice(1, 4))
    assert joint_box(pred & False, pred & False) == (slice(0, 0), slice(0, 0))


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        surface_distances(np.ones((2, 3), bool), np.ones((3, 2), bool))


def test_a_spacing_of_another_rank_is_refused():
    with pytest.raises(ValueError, match="spacing must have 2 values"):
        surface_distances(np.ones((2, 3), bool), np.ones((2, 3), bool), (1, 1, 1))
