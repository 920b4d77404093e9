"""How many steps fit the time: each method is timed once, then steps alone count."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from amsam_monai.auto.plan import Plan
from amsam_monai.auto.trial import segmenter_of, train_method
from amsam_monai.data.files.images import read_image
from amsam_monai.keys import IMAGE

TIMED = 2  # steps of an epoch that is timed
LOOKS = 4  # such epochs, of which the quickest counts: other programs come and go
TRIALS = 0.44  # share of the time for cross-validation
REST = 0.08  # share of the time for reading, reports and what was not foreseen
FEWEST, MOST = 20, 4000  # steps of a training


@dataclass(frozen=True)
class Cost:
    """Seconds that a method takes.

    Args:
        step: of the optimiser.
        before: until the first step, for each case: reading, embeddings, fitting a detector.
        case: segmenting one.
    """

    step: float
    before: float
    case: float


def measure(bundle: Path, method: str, cases: Sequence[Mapping[str, Any]], plan: Plan) -> Cost:
    """Time a few steps of a method on the first case, and segmenting it."""
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        model = train_method(
            bundle,
            method,
            cases[:1],
            plan=plan,
            steps=(1 + LOOKS) * TIMED,
            root=Path(folder),
            progress=lambda *_: marks.append(time.perf_counter()),
            more={"max_epochs": 1 + LOOKS, "steps_per_epoch": TIMED},
        )
        step = min(after - before for before, after in pairwise(marks)) / TIMED
        before = max(0.0, marks[0] - begun - TIMED * step)
        segment = segmenter_of(model)
        segmenting = time.perf_counter()
        segment(read_image(cases[0][IMAGE]))
        return Cost(step, before, time.perf_counter() - segmenting)


def share_out(
    costs: Mapping[str, Cost], *, minutes: float, cases: int, folds: int, runs: int
) -> dict[str, dict[str, int]]:
    """Steps of trials and of the final training, by method.

    Args:
        costs: of each method.
        minutes: for everything.
        cases: that are labelled.
        folds: of the cross-validation, or 0.
        runs: trainings that the cross-validation has, at most; 0 without one.
    """
    seconds = 60 * minutes
    trial = TRIALS * seconds / max(1, runs)
    final = (1 - REST - (TRIALS if runs else 0)) * seconds
    left_out = -(-cases // folds) if folds else 0

    def steps(cost: Cost, time_: float, train: int, scored: int) -> int:
        room = time_ - cost.before * train - cost.case * scored
        return int(min(MOST, max(FEWEST, room / cost.step)))

    return {
        "trial": {name: steps(cost, trial, cases - left_out, left_out) for name, cost in costs.items()},
        "final": {name: steps(cost, final, cases, 0) for name, cost in costs.items()},
    }
