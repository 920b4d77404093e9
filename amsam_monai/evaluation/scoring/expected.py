"""How well an expected Dice tells good masks from bad ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import mannwhitneyu, spearmanr

BAD = 0.7


def judge_expected(
    expected: Sequence[float], dice: Sequence[float], *, bad: float = BAD, caught: float = 0.9
) -> dict[str, float]:
    """Spearman's correlation, AUROC for bad masks, and the share of masks that a person must look at.

    Args:
        expected: told by the network, the higher the better.
        dice: true; masks without a number on either side are left out.
        bad: Dice below which a mask is bad.
        caught: share of the bad ones that a person wants to see, who looks at the worst expected ones first.

    Returns:
        count, bad (how many), spearman, auroc, look_at (a share) and error (mean distance of expected and true Dice);
        NaN where there are too few, of one kind alone, or all alike.

    Raises:
        ValueError: the lengths differ, or `caught` is no share.
    """
    if len(expected) != len(dice):
        raise ValueError(f"expected and dice must have one length, got {len(expected)} and {len(dice)}.")
    if not 0 < caught <= 1:
        raise ValueError(f"caught must be a share above 0, up to 1, got {caught}.")
    told, true = np.asarray(expected, dtype=float), np.asarray(dice, dtype=float)
    known = ~(np.isnan(told) | np.isnan(true))
    told, true = told[known], true[known]
    poor = true < bad
    return {
        "count": len(true),
        "bad": int(poor.sum()),
        "spearman": correlation(told, true),
        "auroc": separation(told[~poor], told[poor]),
        "look_at": share_to_look_at(told, poor, caught),
        "error": float(np.abs(told - true).mean()) if len(true) else math.nan,
    }


def correlation(told: np.ndarray, true: np.ndarray) -> float:
    """Spearman's correlation; NaN where one side is all alike. Shape: (n,) both."""
    if len(told) < 2 or np.ptp(told) == 0 or np.ptp(true) == 0:
        return math.nan
    return float(spearmanr(told, true).statistic)


def separation(good: np.ndarray, poor: np.ndarray) -> float:
    """Chance that a good mask is expected to be better than a bad one; ties count half. Shape: (n,), (m,)."""
    if not len(good) or not len(poor):
        return math.nan
    return float(mannwhitneyu(good, poor).statistic / (len(good) * len(poor)))


def share_to_look_at(told: np.ndarray, poor: np.ndarray, caught: float) -> float:
    """Share of masks, worst expected first, among which are `caught` of the bad ones; equal ones all count.

    Shape: told (n,), poor (n,), bool.
    """
    if not poor.any():
        return math.nan
    needed = math.ceil(caught * int(poor.sum()) - 1e-9)
    limit = np.sort(told[poor])[needed - 1]
    return float((told <= limit).mean())
