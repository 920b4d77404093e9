"""How mean Dice grows while a person corrects one case after another: chosen by the network, or at random."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from amsam_monai.data.files.atomic import whole_file

DRAWS = 200


@dataclass(frozen=True)
class Corrections:
    """Mean Dice over all cases after 0, 1, ... n of them were corrected.

    Args:
        chosen: the least certain first.
        oracle: the worst first, which nobody can know without the labels.
        random: expected value over all orders.
        random_sd: standard deviation over `DRAWS` orders.
        needed: cases corrected until the target is reached, by order; "random" is the mean over the drawn orders.
        random_needed_sd: its standard deviation.
        draws_behind: share of random orders that need more cases than the chosen order.
    """

    chosen: list[float]
    oracle: list[float]
    random: list[float]
    random_sd: list[float]
    needed: dict[str, float]
    random_needed_sd: float
    draws_behind: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def curve(dice: Sequence[float] | np.ndarray, order: Sequence[int] | np.ndarray) -> np.ndarray:
    """Mean Dice after each correction; a corrected case has Dice 1. Shape (n,), (n,) -> (n + 1,)."""
    scores = np.asarray(dice, dtype=np.float64)
    gains = 1.0 - scores[list(order)]
    return scores.mean() + np.concatenate([[0.0], np.cumsum(gains)]) / len(scores)


def needed(means: np.ndarray, target: float) -> int:
    """How many corrections it takes until mean Dice reaches the target."""
    return int(np.flatnonzero(means >= min(target, 1.0) - 1e-9)[0])


def correction_curves(
    dice: Mapping[str, float], certainty: Mapping[str, float], *, target: float = 0.95, seed: int = 0
) -> Corrections:
    """Compare the order that the network asks for with random ones and with the best there is.

    Args:
        dice: of each case, before it is corrected.
        certainty: of each case, as the network sees it.
        target: mean Dice to reach.
        seed: of the random orders.

    Raises:
        ValueError: no cases, or not the same ones.
    """
    names = sorted(dice)
    if not names or names != sorted(certainty):
        raise ValueError(f"dice and certainty must have the same cases, got {len(dice)} and {len(certainty)}.")
    scores = np.array([dice[name] for name in names])
    sure = np.array([certainty[name] for name in names])
    chosen, oracle = curve(scores, np.argsort(sure, kind="stable")), curve(scores, np.argsort(scores, kind="stable"))
    rng = np.random.default_rng(seed)
    drawn = np.stack([curve(scores, rng.permutation(len(names))) for _ in range(DRAWS)])
    steps = np.array([needed(one, target) for one in drawn])
    expected = np.linspace(scores.mean(), 1.0, len(names) + 1)  # each correction gains the same on average
    return Corrections(
        chosen=chosen.tolist(),
        oracle=oracle.tolist(),
        random=expected.tolist(),
        random_sd=drawn.std(0).tolist(),
        needed={
            "least certain": needed(chosen, target),
            "worst first": needed(oracle, target),
            "random": float(steps.mean()),
        },
        random_needed_sd=float(steps.std()),
        draws_behind=float((steps > needed(chosen, target)).mean()),
    )


def plot_corrections(
    found: Corrections, path: str | os.PathLike[str], *, target: float = 0.95, title: str = ""
) -> None:
    """Draw the curves.

    Args:
        found: what `correction_curves` gave.
        path: of the PNG.
        target: a line to reach.
        title: over the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = np.arange(len(found.chosen))
    mean, sd = np.array(found.random), np.array(found.random_sd)
    axes.fill_between(steps, mean - sd, np.minimum(mean + sd, 1), color="#999999", alpha=0.3, linewidth=0)
    axes.plot(steps, mean, color="#666666", label=f"random order (± sd of {DRAWS})")
    axes.plot(steps, found.oracle, color="#009e73", linestyle=":", label="worst first (needs the labels)")
    axes.plot(steps, found.chosen, color="#0072b2", marker="o", markersize=3.5, label="least certain first")
    axes.axhline(target, color="#d55e00", linestyle="--", linewidth=1, label=f"target {target:g}")
    axes.set_xlabel("volumes corrected by a person")
    axes.set_ylabel("mean Dice over all volumes")
    axes.set_xlim(0, steps[-1])
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    axes.set_title(title, fontsize=10)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=130, metadata={"Software": None})
