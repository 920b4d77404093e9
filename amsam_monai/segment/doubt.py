"""How good a result is expected to be, class by class and slice by slice, and where a person should look first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from amsam_monai.data.slices import SliceView
from amsam_monai.segment.calibration import Mask, expected_dice
from amsam_monai.segment.quality import SUMS, features

if TYPE_CHECKING:
    from amsam_monai.segment.segmenter import SegmentedImage

Told = tuple[float, float | None]  # expected Dice and its error, which an uncalibrated network cannot tell
Quality = dict[str, dict[str, Any]]

EMPTY = 1.0  # confidence of a class without a voxel, where nothing was calibrated
KEPT, PIXELS = SUMS.index("kept"), SUMS.index("pixels")


def quality_of(result: SegmentedImage, block: Mapping[str, Any] | None) -> Quality:
    """Per class {"case": (expected Dice, error), "slices": [the same, ...]}, slices as the stored array counts them.

    Without a block it is the raw confidence, which is too high for most networks, without an error. A picture has no
    slices.

    Args:
        result: with sums.
        block: the settings' `quality`, see `fit_quality`.
    """
    sums = sums_of(result)
    return {
        name: {
            "case": _told(sums[:, index - 1].sum(0), name, (block or {}).get("case")),
            "slices": [_told(one, name, (block or {}).get("slice")) for one in sums[:, index - 1]]
            if result.view is not None
            else [],
        }
        for index, name in result.labels.items()
    }


def _told(sums: np.ndarray, label: str, block: Mapping[str, Any] | None) -> Told:
    found = features(sums)
    if block is not None:
        value, error = expected_dice(found, label, block)
        return round(value, 4), round(error, 4)
    confidence = found["confidence"]
    return (EMPTY if math.isnan(confidence) else round(confidence, 4)), None


def known_masks(result: SegmentedImage, truth: np.ndarray, case: str) -> list[Mask]:
    """What `fit_quality` takes of a case whose true label map is known: its classes, and theirs in each slice.

    Args:
        result: with sums.
        truth: class indices in the image's shape.
        case: name; of several volumes of one patient that of the patient.

    Raises:
        ValueError: another shape than the image's.
    """
    if truth.shape != result.label.shape:
        raise ValueError(f"truth must have the image's shape {result.label.shape}, got {truth.shape}.")
    sums, found = sums_of(result), []
    planes = [
        one if result.view is None else _stored(result.view, result.view.see(one)) for one in (result.label, truth)
    ]
    pred, true = (plane[None] if result.view is None else plane for plane in planes)
    for index, name in result.labels.items():
        both, size = (np.count_nonzero(one, axis=(1, 2)) for one in ((pred == index) & (true == index), true == index))
        rows = np.column_stack([both, sums[:, index - 1, KEPT], size, sums[:, index - 1, PIXELS]])
        found.append(_mask(case, name, sums[:, index - 1].sum(0), rows.sum(0), None))
        if result.view is not None:
            found += [_mask(case, name, sums[at, index - 1], row, at) for at, row in enumerate(rows)]
    return found


def _mask(case: str, label: str, sums: np.ndarray, counts: np.ndarray, number: int | None) -> Mask:
    both, pred, true, pixels = (float(value) for value in counts)
    dice = 2 * both / (pred + true) if pred + true else 1.0
    return Mask(case, label, features(sums), dice, math.log10(true / pixels) if true else math.nan, number)


def sums_of(result: SegmentedImage) -> np.ndarray:
    """The sums of a result, slices as the stored array counts them. Shape (D, K, SUMS).

    Raises:
        ValueError: they were not taken.
    """
    if result.sums is None:
        raise ValueError("the result must have been made with sums, got none; call the segmenter with quality=True.")
    return result.sums if result.view is None else _stored(result.view, result.sums)


def _stored(view: SliceView, slices: np.ndarray) -> np.ndarray:
    """Slices in the order of the stored array."""
    return slices[::-1] if view.reverse[0] else slices


def worst(quality: Quality) -> float | None:
    """Expected Dice of the class that is worst off in the whole case; None where nothing is told."""
    return min((one["case"][0] for one in quality.values()), default=None)


def doubtful_slices(quality: Quality) -> list[tuple[int, str, float]]:
    """Number of each slice, its worst class and the Dice to expect of that, the worst slices first."""
    depth = max((len(one["slices"]) for one in quality.values()), default=0)
    found = [min((one["slices"][at][0], name) for name, one in quality.items()) for at in range(depth)]
    return [
        (at, name, value) for value, at, name in sorted((value, at, name) for at, (value, name) in enumerate(found))
    ]
