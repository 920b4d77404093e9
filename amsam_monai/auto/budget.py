"""How many steps fit the time: each method is timed once, then steps alone count."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from amsam_monai.auto.choice import EARLY, most_runs
from amsam_monai.auto.methods import METHODS, most_steps, runs_at_most
from amsam_monai.auto.plan import Plan, runs_key
from amsam_monai.auto.trial import segmenter_of, train_method
from amsam_monai.data.files.images import read_image
from amsam_monai.keys import IMAGE

TIMED = 2  # steps of an epoch that is timed
LOOKS = 4  # such epochs, of which the quickest counts: other programs come and go
TRIALS, ALONE = 0.44, 0.2  # share of the time for cross-validation; of a single method, where that is enough
REST = 0.08  # share of the time for reading, reports and what was not foreseen
REPORT = 0.04  # of which that much is after the trials
FEWEST = 20  # steps of a training
KEPT = "plain"  # which was the best, or near it, on all tasks that were measured
SHORTEST = 0.75  # of the steps that help: two such runs are better than a whole one
FITTED = 20  # steps of a detector that are timed
FITTING, MOST_FITTING = 0.4, 300  # share of a training's time for its detector, and steps of that at most


@dataclass(frozen=True)
class Cost:
    """Seconds that a method takes.

    Args:
        step: of the optimiser.
        before: until the first step, for each case: reading, embeddings.
        case: segmenting one.
        detector: a step of a detector; 0 where there is none.
        most: steps on all cases, beyond which it learns them by heart.
        runs: trainings whose weights are averaged, at most.
    """

    step: float
    before: float
    case: float
    detector: float = 0.0
    most: int = 1500
    runs: int = 1

    def training(self, cases: int) -> float:
        """Seconds of the longest training that helps, all its runs together."""
        return self.before * cases + self.detector * MOST_FITTING + self.step * self.most * self.runs


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
            detector_steps=FITTED,
            progress=lambda *_: marks.append(time.perf_counter()),
            more={"max_epochs": 1 + LOOKS, "steps_per_epoch": TIMED},
        )
        step = min(after - before for before, after in pairwise(marks)) / TIMED
        before = max(0.0, marks[0] - begun - TIMED * step)
        segment = segmenter_of(model)
        segmenting = time.perf_counter()
        segment(read_image(cases[0][IMAGE]))
        took = time.perf_counter() - segmenting
    fitting = 0.0
    if METHODS[method].detector:  # what is not fitting is embeddings, a share of segmenting each mirror image
        embedding = min(before, METHODS[method].views * took / 2 ** len(plan["mirrors"]))
        before, fitting = embedding, (before - embedding) / FITTED
    return Cost(step, before, took, fitting, most_steps(method, plan), runs_at_most(method, plan))


def share_out(
    costs: Mapping[str, Cost], *, minutes: float, cases: int, folds: int, runs: float
) -> dict[str, dict[str, int]]:
    """Steps of trials, early ones too, of the final training, and of one that shares its time with another method.

    What the final training of no two methods needs goes to the trials, and to running them again without suspects.

    Args:
        costs: of each method.
        minutes: for everything.
        cases: that are labelled.
        folds: of the cross-validation, or 0.
        runs: trials that the cross-validation has, at most; 0 without one.

    Returns:
        By part, then by method.
    """
    seconds = 60 * minutes
    full = {name: cost.training(cases) for name, cost in costs.items()}
    left_out = -(-cases // folds) if folds else 0
    trial, final = 0.0, (1 - REST) * seconds
    if runs:
        trials = _of_trials(costs, seconds, runs, cases - left_out, left_out)
        needed = min(final - trials, sum(sorted(full.values())[-2:]))
        again = max(0, folds - 1)  # trials without suspects, where there is time for them
        trial, final = max(trials / runs, (final - needed) / (runs + again)), needed

    shares: dict[str, dict[str, int]] = {"trial": {}, "final": {}, "half": {}}
    for name, cost in costs.items():
        other = max((its for one, its in full.items() if one != name), default=final / 2)
        for part, time_, train, scored in (
            ("trial", trial, cases - left_out, left_out),
            ("final", final, cases, 0),
            ("half", max(final / 2, final - other), cases, 0),
        ):
            room = time_ - cost.before * train - cost.case * scored
            if cost.detector:
                fitted = int(min(MOST_FITTING, max(FEWEST, FITTING * room / cost.detector)))
                shares[part][f"{name}, detector"] = fitted
                room -= fitted * cost.detector
            most = max(METHODS[name].least, round(cost.most * train / cases))
            steps = max(FEWEST, int(room / cost.step))
            times = 1 if part == "trial" else runs_of(steps, most, cost.runs)
            shares[part][name] = min(most, steps // times)
            if cost.runs > 1 and part != "trial":
                shares[part][runs_key(name)] = times
    return with_early(shares)


def _of_trials(costs: Mapping[str, Cost], seconds: float, runs: float, train: int, scored: int) -> float:
    """Seconds of all trials: a share, which is smaller where a single method is to be judged and not chosen."""
    if len(costs) > 1:
        return TRIALS * seconds
    [(name, cost)] = costs.items()
    fewest = METHODS[name].least + 0.5  # half a step more, for what is rounded
    least = cost.before * train + cost.case * scored + cost.detector * FEWEST + cost.step * fewest
    return min(TRIALS * seconds, max(ALONE * seconds, least * runs))


def with_early(shares: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The same steps, and those of early trials."""
    return {"early": {name: max(1, steps // EARLY) for name, steps in shares["trial"].items()}, **shares}


def that_fit(
    costs: Mapping[str, Cost], *, minutes: float, cases: int, folds: int, choosing: bool = True
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Steps as `share_out` gives them, for as many methods and folds as have enough of them to be judged by a trial.

    Where a method has not, the one that lacks most goes, and the others share its time; KEPT stays to the last. Where
    that alone is left and lacks some, folds go.

    Args:
        costs: of each method.
        minutes: for everything.
        cases: that are labelled.
        folds: that were drawn, or 0.
        choosing: among the methods; else all of them stay.

    Returns:
        The steps, "rounds" with the number of "folds" that are run beside; and of methods that went how many a trial
        would have had.
    """
    left, slow, rounds = dict(costs), dict[str, int](), folds
    while True:
        runs = most_runs(len(left), rounds) if folds else 0
        steps = share_out(left, minutes=minutes, cases=cases, folds=folds, runs=runs)
        enough = {name: steps["trial"][name] / METHODS[name].least for name in left}
        others = [name for name in left if name != KEPT] if choosing and len(left) > 1 else []
        if min(enough.values()) >= 1 or not (others or rounds > 1):
            return {**steps, "rounds": {"folds": rounds}}, slow
        if others:
            name = min(others, key=enough.__getitem__)
            slow[name] = steps["trial"][name]
            del left[name]
        else:
            rounds -= 1


def no_room_beside(cost: Cost, *, minutes: float, cases: int, folds: int) -> bool:
    """Whether KEPT takes all the time, so that no other method need be timed: even by itself it lacks some.

    Args:
        cost: of KEPT.
        minutes: for everything.
        cases: that are labelled.
        folds: that were drawn.
    """
    alone, _ = that_fit({KEPT: cost}, minutes=minutes, cases=cases, folds=folds)
    return alone["rounds"]["folds"] < folds or alone["trial"][KEPT] < METHODS[KEPT].least


def last_steps(parts: Sequence[str], plan: Plan, seconds: float, pace: Mapping[str, float]) -> dict[str, int]:
    """Steps and runs of the last training in the time that is left, from how long a step took in the trials.

    No run is longer than helps its method; what is left makes further runs. Half of the planned steps is the least.

    Args:
        parts: the methods: one, or two whose mean is meant, which share the time.
        plan: with steps.
        seconds: that are left for it.
        pace: seconds of a step of each, with all that a training does beside.
    """
    part, found = part_of(parts), dict[str, int]()
    longest = {one: max(plan.steps[part][one], most_steps(one, plan)) for one in parts}
    needs = {one: pace[one] * longest[one] * runs_at_most(one, plan) for one in parts}
    for number, one in enumerate(sorted(parts, key=needs.__getitem__)):
        its = max(0.0, min(needs[one], seconds / (len(parts) - number)))
        seconds -= its
        steps = max(plan.steps[part][one] // 2, int(its / pace[one]))
        runs = runs_of(steps, longest[one], runs_at_most(one, plan))
        found[one] = min(longest[one], steps // runs)
        if runs > 1:
            found[runs_key(one)] = runs
    return found


def part_of(parts: Sequence[str]) -> str:
    """Of the plan's steps, which are the last training's: those of one method, or of one that shares the time."""
    return "final" if len(parts) == 1 else "half"


def runs_of(steps: int, each: int, most: int) -> int:
    """How many runs that need `each` steps, or SHORTEST of that, there are in `steps`: one at least."""
    return max(1, min(most, int(steps / (SHORTEST * each))))


def as_told(names: Sequence[str], steps: int, runs: int = 1) -> dict[str, int]:
    """So many steps of each method, at least one, half as many of its detector, and so many runs where it has any."""
    told = dict.fromkeys(names, max(1, steps))
    fitted = min(MOST_FITTING, max(FEWEST, steps // 2))
    told |= {f"{name}, detector": fitted for name in names if METHODS[name].detector}
    return told | {runs_key(name): runs for name in names if METHODS[name].runs > 1 and runs > 1}
