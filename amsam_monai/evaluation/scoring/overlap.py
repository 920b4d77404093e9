"""Overlap of two masks: Dice, IoU, sensitivity, precision, from one count of voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OverlapCounts:
    """Voxels of a prediction and a label that agree and that do not.

    Args:
        both: in both masks (true positives).
        only_pred: in the prediction only (false positives).
        only_label: in the label only (false negatives).
    """

    both: int
    only_pred: int
    only_label: int

    @property
    def pred(self) -> int:
        """Voxels of the prediction."""
        return self.both + self.only_pred

    @property
    def label(self) -> int:
        """Voxels of the label."""
        return self.both + self.only_label

    @property
    def outcome(self) -> str:
        """One of OUTCOMES: "scored", "missed" (label alone), "false" (prediction alone), "both_empty"."""
        return OUTCOMES[(not self.label) * 2 + (not self.pred)]


OUTCOMES = ("scored", "missed", "false", "both_empty")


def count_overlap(pred: np.ndarray, label: np.ndarray) -> OverlapCounts:
    """Count the voxels of two boolean masks of one shape."""
    both = int(np.count_nonzero(pred & label))
    return OverlapCounts(both, int(np.count_nonzero(pred)) - both, int(np.count_nonzero(label)) - both)


def dice(counts: OverlapCounts) -> float:
    """2 |P and L| / (|P| + |L|); NaN where both are empty (AM-SAM, arXiv:2410.09714, Eq. 13)."""
    return _ratio(2 * counts.both, counts.pred + counts.label)


def iou(counts: OverlapCounts) -> float:
    """|P and L| / |P or L|; NaN where both are empty."""
    return _ratio(counts.both, counts.both + counts.only_pred + counts.only_label)


def sensitivity(counts: OverlapCounts) -> float:
    """Share of the label that is predicted; NaN for an empty label."""
    return _ratio(counts.both, counts.label)


def precision(counts: OverlapCounts) -> float:
    """Share of the prediction that is right; NaN for an empty prediction."""
    return _ratio(counts.both, counts.pred)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
