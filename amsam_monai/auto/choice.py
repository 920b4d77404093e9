"""Which method: all on the first fold, the hopeless dropped by their scores, the rest on all folds, and their mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from amsam_monai.auto.methods import JOIN, members
from amsam_monai.auto.trial import Trial

HOPELESS = 0.05  # Dice below the best of the first fold at which a method is dropped
FINALISTS = 2
MARGIN = 0.02  # Dice by which the mean of two must be above the better one: each then trains for half as long


@dataclass
class Chosen:
    """What the cross-validation found.

    Args:
        method: the best.
        trials: all that were run, by method.
        dropped: methods that were given up after the first fold.
    """

    method: str
    trials: dict[str, list[Trial]]
    dropped: list[str] = field(default_factory=list)

    def score(self, method: str) -> float:
        """Mean of the folds' scores."""
        return float(np.mean([trial.score for trial in self.trials[method]]))


def cross_validate(methods: Sequence[str], folds: int, run: Callable[[str, int], Trial]) -> Chosen:
    """Run what is needed to choose.

    After the first fold a method stays that is among the FINALISTS best and no more than HOPELESS below the best one;
    those go through the other folds. The best mean of scores wins; of equal ones the first in `methods`. Where two
    stay, the mean of their answers is scored too, and wins where it is more than MARGIN above the better of them.

    Args:
        methods: names, the cheap ones first.
        folds: how many.
        run: trains and scores a method on a fold, or scores the mean of two that were run, "a+b".
    """
    trials = {method: [run(method, 0)] for method in methods}
    ranked = sorted(methods, key=lambda method: -trials[method][0].score)
    best = trials[ranked[0]][0].score
    staying = [method for method in ranked[:FINALISTS] if trials[method][0].score >= best - HOPELESS]
    for fold in range(1, folds):
        for method in staying:
            trials[method].append(run(method, fold))
    chosen = Chosen("", trials, [method for method in methods if method not in staying])
    chosen.method = best_alone = max(staying, key=chosen.score)
    if len(staying) == 2 and all(len(members(method)) == 1 for method in staying):
        mean = JOIN.join(method for method in methods if method in staying)
        trials[mean] = [run(mean, fold) for fold in range(folds)]
        if chosen.score(mean) > chosen.score(best_alone) + MARGIN:
            chosen.method = mean
    return chosen


def most_runs(methods: int, folds: int) -> int:
    """Trainings that `cross_validate` runs at most."""
    return methods + min(methods, FINALISTS) * (folds - 1)


def spared_runs(chosen: Chosen, folds: int) -> int:
    """Trainings of `most_runs` that were not needed, since methods were dropped."""
    alone = [method for method in chosen.trials if len(members(method)) == 1]
    return most_runs(len(alone), folds) - sum(len(chosen.trials[method]) for method in alone)
