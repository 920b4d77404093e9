"""The steps of a plan: as told, or as many as fit the time by the seconds that each method takes here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amsam_monai.auto.budget import KEPT, Cost, as_told, measure, no_room_beside, that_fit, with_early
from amsam_monai.auto.methods import METHODS
from amsam_monai.auto.plan import Choice, Plan, said


def plan_steps(
    plan: Plan,
    names: Sequence[str],
    bundles: Mapping[str, Path],
    datalist: Sequence[Mapping[str, Any]],
    steps: int | None,
    say: Callable[[str], None],
    *,
    choosing: bool,
) -> None:
    """Put steps into the plan, as told or as many as fit the time, and which methods there are to choose among."""
    if choosing:
        plan.choices["methods"] = Choice(list(names), "those whose packages and weights are here", "--method")
    if steps is not None:
        told = {"trial": steps // 3, "final": steps, "half": steps // 2}
        plan.steps = with_early(
            {part: as_told(names, count, 1 if part == "trial" else plan["runs"]) for part, count in told.items()}
        )
        return
    begun = time.perf_counter()
    costs: dict[str, Cost] = {}
    folds = len(plan.folds)
    choosing = choosing and folds > 0
    untimed: Sequence[str] = ()
    for at, name in enumerate(names, 1):
        costs[name] = measure(bundles[name], name, datalist, plan)
        say(f"{name}: {costs[name].step:.2f} s a step, {costs[name].case:.1f} s to segment a case")
        if (
            choosing
            and name == KEPT
            and no_room_beside(costs[name], minutes=plan.minutes, cases=len(datalist), folds=folds)
        ):
            untimed = names[at:]
            break
    plan.timing = round(time.perf_counter() - begun, 1)
    plan.seconds = {name: round(cost.step, 4) for name, cost in costs.items()}
    plan.steps, slow = that_fit(
        costs,
        minutes=plan.minutes,
        cases=len(datalist),
        folds=folds,
        choosing=choosing,
    )
    if plan.rounds < folds:
        say(f"{plan.minutes:g} minutes are too few for all folds: {plan.rounds} of {folds} will be run")
    if slow or untimed:
        known = [f"{name} ({count} steps in a trial for {METHODS[name].least})" for name, count in slow.items()]
        reason = f"{plan.minutes:g} minutes are too few to judge {', '.join([*known, *untimed])}"
        plan.choices["methods"] = Choice([name for name in costs if name not in slow], reason, "--minutes")
        say(f"methods: {said(plan['methods'])} - {reason}")
    if choosing and not any(METHODS[name].detector for name in plan["methods"]):
        plan.choices.pop("detector", None)
