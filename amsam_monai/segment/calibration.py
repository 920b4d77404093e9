"""From how sure a network is to the Dice to expect, fitted on cases that it was not trained on.

The block `quality` of settings has a part for whole cases and one for slices:

    case:
      count: 24                   # masks it was fitted on
      cases: 8                    # of so many cases; files of before do not say
      base: 0.84                  # Dice of an average mask
      labels: {myocardium: -0.04} # a class more or less than that
      features: {confidence: [0.88, 1.1], ...}  # mean, and Dice for each more of it: never less than 0
      usual: {myocardium: -1.9}   # size of the true mask in most cases, from which `size` is more or less far
      spread: 0.6                 # error = spread * (ROOM + 1 - Dice)
      top: 0.97                   # which no expected Dice goes beyond: the best that was seen, and a little more
      absent: {odds: 2.1, mass: 0.8, beside: 0.5}  # log-odds that a class without a voxel is missing, and less for each
    slice: {...}

A few masks cannot tell much, so all numbers are drawn towards plain ones, and classes towards each other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear, minimize

# Dice for each more of a feature, as far as nothing else is known: it served for hearts, hippocampi and polyps
PLAIN = {"confidence": 0.4, "firmness": 0.3, "agreement": 0.3, "whole": 0.5, "continuity": 0.2, "usual": 0.1}
LEAST_SD = {
    "confidence": 0.03,
    "firmness": 0.03,
    "agreement": 0.03,
    "whole": 0.03,
    "continuity": 0.03,
    "usual": 0.1,
}
ROOM = 0.05  # doubt that is left of a perfect mask
TIES = 8.0  # how many masks outweigh that
ALIKE = 2.0  # how many cases with a class outweigh that classes are alike
UNKNOWN = 0.5  # error of a value of which nothing is known
BEND, TOP_BEND = 0.1, 0.05  # how far from 0 and from the top a Dice is bent
FAR = 0.1  # of a Dice
ROUNDS = 15  # of trusting masks that are far off less
FOLDS = 10  # at most, of cases, by which the error is found
DOUBTS = ("mass", "beside")  # features of a class without a voxel


@dataclass(frozen=True)
class Mask:
    """A mask whose Dice is known.

    Args:
        case: whose mask it is.
        label: name of its class.
        features: as `features` of the quality gives them.
        dice: true; 1 where class and mask are both absent.
        true_size: log10 of the true mask's share of the image; NaN where it has no voxel.
        slice: number of the slice; None for the whole case.
    """

    case: str
    label: str
    features: Mapping[str, float]
    dice: float
    true_size: float = math.nan
    slice: int | None = None

    @property
    def absent(self) -> bool:
        """Whether the mask has no voxel."""
        return math.isnan(self.features["confidence"])


def fit_quality(masks: Sequence[Mask]) -> dict[str, Any]:
    """The block `quality` of settings, from masks of cases that were left out when the network was trained.

    Raises:
        ValueError: no mask of a whole case, or a Dice outside [0, 1].
    """
    if bad := [mask for mask in masks if not 0 <= mask.dice <= 1]:
        raise ValueError(f"dice must lie in [0, 1], got {bad[0].dice} of {bad[0].case}, {bad[0].label}.")
    whole = [mask for mask in masks if mask.slice is None]
    if not whole:
        raise ValueError("masks must hold those of whole cases (slice None), got none.")
    slices = [mask for mask in masks if mask.slice is not None]
    usual = usual_sizes(whole) if slices else {}  # an organ in a volume has a usual size, a spot in a picture has none
    block = {"case": fit_masks(whole, usual)}
    return {**block, "slice": fit_masks(slices, {})} if slices else block


def fit_masks(masks: Sequence[Mask], usual: Mapping[str, float]) -> dict[str, Any]:
    """A part of the block from masks that are all of cases, or all of slices, and the usual sizes of classes."""
    seen = [mask for mask in masks if not mask.absent]
    block = fit_seen(seen, usual) if seen else {"count": 0, "base": 0.5, "labels": {}, "features": {}, "usual": {}}
    cases = len({mask.case for mask in seen})
    spread = spread_of(seen, usual) if cases > 2 else 1.0
    return {**block, "cases": cases, "spread": spread, "top": top_of(seen), "absent": fit_absent(masks)}


def top_of(masks: Sequence[Mask]) -> float:
    """The best Dice that was seen, and what one more case may be above it: little where there are many."""
    if not masks:
        return 1.0
    best = max(mask.dice for mask in masks)
    return best + (1 - best) / (1 + len({mask.case for mask in masks}))


def fit_seen(masks: Sequence[Mask], usual: Mapping[str, float]) -> dict[str, Any]:
    """Base, labels and features by least squares, drawn towards plain numbers; a case counts once for each class."""
    labels = sorted({mask.label for mask in masks})
    told = [measures(mask.features, mask.label, usual) for mask in masks]
    names = [name for name in LEAST_SD if all(math.isfinite(one.get(name, math.nan)) for one in told)]
    values = np.array([[one[name] for name in names] for one in told]).reshape(len(masks), len(names))
    counts = Counter((mask.case, mask.label) for mask in masks)
    weight = np.array([1 / counts[mask.case, mask.label] for mask in masks])
    mean = np.average(values, axis=0, weights=weight)
    spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))
    sd = np.maximum(spread, [LEAST_SD[name] for name in names])
    is_label = np.array([[mask.label == label for label in labels] for mask in masks], dtype=float)
    rows = np.hstack([np.ones((len(masks), 1)), is_label, (values - mean) / sd])
    drawn = np.sqrt([0.0] + [ALIKE] * len(labels) + [TIES] * len(names))
    plain = np.hstack([np.zeros(1 + len(labels)), [PLAIN.get(name, 0.0) for name in names] * sd])
    target = np.array([mask.dice for mask in masks])
    least = np.array([-np.inf] * (1 + len(labels)) + [0.0] * len(names))
    found = fitted(rows, target, weight, drawn, plain, least).tolist()
    slopes = np.array(found[1 + len(labels) :]) / sd
    return {
        "count": len(masks),
        "base": found[0],
        "labels": dict(zip(labels, found[1 : 1 + len(labels)], strict=True)),
        "features": {name: [float(mean[at]), float(slopes[at])] for at, name in enumerate(names)},
        "usual": dict(usual),
    }


def fitted(
    rows: np.ndarray, target: np.ndarray, weight: np.ndarray, drawn: np.ndarray, plain: np.ndarray, least: np.ndarray
) -> np.ndarray:
    """Least squares by Huber: a mask that is FAR off pulls no more than one that is just so.

    Args:
        rows: of masks.
        target: their Dice.
        weight: of masks.
        drawn: square root of what each number is drawn to `plain` by.
        plain: where numbers are drawn to.
        least: of each number.

    Shape: rows (n, m), target and weight (n,), drawn, plain and least (m,) -> (m,)
    """
    trust = np.ones(len(rows))
    for _ in range(ROUNDS):
        root = np.sqrt(weight * trust)
        system = np.vstack([rows * root[:, None], np.diag(drawn)])
        found: np.ndarray = lsq_linear(system, np.concatenate([target * root, drawn * plain]), (least, np.inf)).x
        trust = FAR / np.maximum(np.abs(target - rows @ found), FAR)
    return found


def usual_sizes(masks: Sequence[Mask]) -> dict[str, float]:
    """By class the median size of true masks."""
    sizes: dict[str, list[float]] = {}
    for mask in masks:
        if math.isfinite(mask.true_size):
            sizes.setdefault(mask.label, []).append(mask.true_size)
    return {label: float(np.median(found)) for label, found in sizes.items()}


def measures(told: Mapping[str, float], label: str, usual: Mapping[str, float]) -> dict[str, float]:
    """Features of a mask, and how near its size is to the usual one (0 is there, less is farther)."""
    return {**told, "usual": -abs(told["size"] - usual[label])} if label in usual else dict(told)


def spread_of(masks: Sequence[Mask], usual: Mapping[str, float]) -> float:
    """Error in shares of `room`, of each case's masks expected by a fit on the others."""
    cases = sorted({mask.case for mask in masks})
    shares = []
    for start in range(min(FOLDS, len(cases))):
        fold = set(cases[start::FOLDS])
        block = fit_seen([mask for mask in masks if mask.case not in fold], usual)
        for mask in (one for one in masks if one.case in fold):
            value = value_of(mask.features, mask.label, block)
            shares.append((mask.dice - value) / room(value))
    return float(np.sqrt(np.mean(np.square(shares)) * (1 + 2 / len(cases))))


def fit_absent(masks: Sequence[Mask]) -> dict[str, float]:
    """Log-odds that a class without a voxel is missing, and how they sink with doubt and with masks beside it.

    Drawn towards how often a class is missing at all, as if that had been seen in two more masks.
    """
    absent = [mask for mask in masks if mask.absent]
    prior = float(np.clip(np.mean([math.isnan(mask.true_size) for mask in masks]), 0.05, 0.95))
    doubt = np.array([[mask.features[name] for name in DOUBTS] for mask in absent]).reshape(-1, len(DOUBTS))
    right = np.array([float(mask.dice > 0) for mask in absent])

    def loss(numbers: np.ndarray) -> float:
        odds = numbers[0] - doubt @ numbers[1:]
        drawn = 2 * (np.logaddexp(0, numbers[0]) - prior * numbers[0]) + 0.5 * float(numbers[1:] @ numbers[1:])
        return float((np.logaddexp(0, odds) - right * odds).sum() + drawn)

    start = np.array([math.log(prior / (1 - prior)), *[0.1] * len(DOUBTS)])
    found = minimize(loss, start, bounds=[(-8, 8), *[(0, 8)] * len(DOUBTS)]).x
    return dict(zip(("odds", *DOUBTS), (float(value) for value in found), strict=True))


def room(value: float) -> float:
    """How far a Dice can be off that is expected to be `value`, but for a factor."""
    return ROOM + 1 - value


def value_of(told: Mapping[str, float], label: str, block: Mapping[str, Any]) -> float:
    """The Dice to expect of a mask that is there."""
    found = measures(told, label, block["usual"])
    value = block["base"] + block["labels"].get(label, 0.0)
    for name, (mean, slope) in block["features"].items():
        if math.isfinite(found.get(name, math.nan)):
            value += slope * (found[name] - mean)
    return squashed(value, block.get("top", 1.0))


def squashed(value: float, top: float = 1.0) -> float:
    """A number as a Dice: itself but near 0 and the top, which it nears ever slower, so that none tie."""
    low, high = min(BEND, top / 2), top - min(TOP_BEND, top / 2)
    if value > high:
        return top - (top - high) * math.exp((high - value) / (top - high))
    return low * math.exp((value - low) / low) if value < low else value


def expected_dice(told: Mapping[str, float], label: str, block: Mapping[str, Any]) -> tuple[float, float]:
    """The Dice to expect of a mask, and its error (one standard deviation).

    Of a class without a voxel it is the chance that the class is not there, in which case the Dice counts as 1.

    Args:
        told: as `features` gives them.
        label: name of the class.
        block: part `case` or `slice` of `fit_quality`.
    """
    if math.isnan(told["confidence"]):
        odds = block["absent"]["odds"] - sum(block["absent"][name] * told[name] for name in DOUBTS)
        value = 1 / (1 + math.exp(-odds))
        return value, math.sqrt(value * (1 - value))
    value = value_of(told, label, block)
    return value, min(UNKNOWN, block["spread"] * room(value))
