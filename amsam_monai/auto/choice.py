"""Which method: all on the first fold, the hopeless dropped by what they promise, the rest on all folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from amsam_monai.auto.methods import JOIN, members
from amsam_monai.auto.trial import Trial

HOPELESS = 0.05  # expected Dice below the best of the first fold at which a method is dropped
FINALISTS = 2
MARGIN = 0.02  # Dice by which the mean of two must be above the better one: they share the time
EARLY = 3  # a trial is first run with a third of its steps, which shows how fast a method still learns
EARLY_COST = 0.5  # of a trial: a third of its steps, and the same cases to segment
FASTEST = 0.5  # exponent: an error that falls with the root of the steps
SMALLEST = 0.02  # error that is told from none


@dataclass
class Chosen:
    """What the cross-validation found.

    Args:
        method: the best.
        trials: all that were run, by method.
        dropped: methods that were given up after the first fold.
        early: the first fold with fewer steps, by method; empty where nothing was to be chosen.
        longer: how many times the steps of a trial the final training has, by method.
    """

    method: str
    trials: dict[str, list[Trial]]
    dropped: list[str] = field(default_factory=list)
    early: dict[str, Trial] = field(default_factory=dict)
    longer: Mapping[str, float] = field(default_factory=dict)

    def score(self, method: str) -> float:
        """Mean of the folds' scores."""
        return float(np.mean([trial.score for trial in self.trials[method]]))

    def expected(self, method: str) -> float:
        """Score to expect of the final training: the error 1 - Dice goes on falling as it fell on the first fold.

        A power law through two lengths of training, error ~ steps^-k with 0 <= k <= FASTEST; the mean of the folds'
        scores where a method has no early trial.
        """
        score, first = self.score(method), self.trials[method][0]
        if method not in self.early or self.early[method].steps >= first.steps:
            return score
        early = self.early[method]
        before, after = (max(SMALLEST, 1 - one.score) for one in (early, first))
        exponent = math.log(before / after) / math.log(first.steps / early.steps)
        falling = min(FASTEST, max(0.0, exponent))
        return 1 - (1 - score) * max(1.0, self.longer.get(method, 1.0)) ** -falling


def cross_validate(
    methods: Sequence[str],
    folds: int,
    run: Callable[[str, int], Trial],
    early: Callable[[str], Trial] | None = None,
    longer: Mapping[str, float] | None = None,
) -> Chosen:
    """Run what is needed to choose.

    After the first fold a method stays that is among the FINALISTS best and no more than HOPELESS below the best one,
    by the score to expect of the final training: a method that learns slowly and long is not judged by a short trial.
    Those go through the other folds. The best expected score wins; of equal ones the first in `methods`. Where two
    stay, the mean of their answers is scored too, and wins where it is more than MARGIN above the better of them.

    Args:
        methods: names, the cheap ones first.
        folds: how many.
        run: trains and scores a method on a fold, or scores the mean of two that were run, "a+b".
        early: trains a method on the first fold for a part of the steps, and scores it; None takes trials as they are.
        longer: how many times the steps of a trial the final training has, by method.
    """
    chosen = Chosen("", {}, longer=longer or {})
    for method in methods:
        if early is not None and len(methods) > 1:
            chosen.early[method] = early(method)
        chosen.trials[method] = [run(method, 0)]
    ranked = sorted(methods, key=lambda method: -chosen.expected(method))
    best = chosen.expected(ranked[0])
    staying = [method for method in ranked[:FINALISTS] if chosen.expected(method) >= best - HOPELESS]
    for fold in range(1, folds):
        for method in staying:
            chosen.trials[method].append(run(method, fold))
    chosen.dropped = [method for method in methods if method not in staying]
    chosen.method = max(staying, key=chosen.expected)
    if len(staying) == 2 and all(len(members(method)) == 1 for method in staying):
        mean = JOIN.join(method for method in methods if method in staying)
        chosen.trials[mean] = [run(mean, fold) for fold in range(folds)]
        if chosen.score(mean) > max(map(chosen.score, staying)) + MARGIN:
            chosen.method = mean
    return chosen


def most_runs(methods: int, folds: int) -> float:
    """Trials that `cross_validate` runs at most, early ones by what they cost."""
    early = EARLY_COST * methods if methods > 1 else 0.0
    return early + methods + min(methods, FINALISTS) * (folds - 1)
