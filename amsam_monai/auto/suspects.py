"""Labelled cases that teach the wrong thing: found by the folds, left out where the others do without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from amsam_monai.auto.plan import Choice, Plan
from amsam_monai.auto.trial import Trial
from amsam_monai.keys import CASE_ID

Cases = Sequence[Mapping[str, Any]]

SUSPECT = 0.2  # Dice below the median of the other cases at which a label is worth a second look
SHARE = 0.25  # of the cases are suspects, at most
FAR = 0.4  # Dice below that median from which a case is a suspect
HARM = 0.0  # Dice that the other left-out cases may lose without the suspects


@dataclass(frozen=True)
class Weeded:
    """What came of training without the suspects.

    Args:
        suspects: ids of cases, the worst first.
        gain: in mean Dice of the other left-out cases; 0 where there is no suspect.
    """

    suspects: list[str]
    gain: float = 0.0

    @property
    def left_out(self) -> list[str]:
        """Cases that the final training leaves out."""
        return self.suspects if self.gain >= -HARM else []


def find_suspects(trials: Sequence[Trial]) -> list[str]:
    """Cases whose left-out Dice lies more than FAR below the others' median, the worst first; a SHARE at most."""
    dice = case_dice(trials)
    found = []
    for case, value in dice.items():
        others = [one for other, one in dice.items() if other != case]
        if len(others) >= 3 and value < np.median(others) - FAR:
            found.append(case)
    return sorted(found, key=dice.__getitem__)[: int(SHARE * len(dice))]


def case_dice(trials: Sequence[Trial]) -> dict[str, float]:
    """Mean Dice over its classes of each left-out case that has any."""
    rows = {
        case: [value for value in row.values() if value is not None] for one in trials for case, row in one.dice.items()
    }
    return {case: float(np.mean(values)) for case, values in rows.items() if values}


def weed(
    trials: Sequence[Trial], folds: Mapping[int, Sequence[str]], run: Callable[[int, Sequence[str]], Trial]
) -> Weeded:
    """Train once more without the suspects where they trained, and score what was left out then.

    Args:
        trials: of a method, on all folds.
        folds: ids of the cases that train, by fold.
        run: trains and scores on a fold without some cases.
    """
    suspects = find_suspects(trials)
    again = [one.fold for one in trials if set(suspects) & set(folds[one.fold])]
    before = case_dice([one for one in trials if one.fold in again])
    after = case_dice([run(fold, suspects) for fold in again])
    kept = [case for case in before if case not in suspects and case in after]
    gain = float(np.mean([after[case] - before[case] for case in kept])) if kept else 0.0
    return Weeded(suspects, gain)


def leave_out(plan: Plan, cases: Cases, weeded: Weeded, say: Callable[[str], None]) -> Cases:
    """The cases that the final training has; the plan tells which it leaves out, and why."""
    if not weeded.suspects:
        return cases
    names, gain = ", ".join(weeded.suspects), f"{weeded.gain:+.3f} Dice without"
    if not weeded.left_out:
        say(f"{names}: far worse than the others when left out; kept, since the others have {gain}")
        return cases
    choice = Choice(weeded.left_out, f"far worse than the others when left out, which have {gain}", "--suspects keep")
    plan.choices["left out"] = choice
    say(f"left out: {names} - {choice.reason}; look at their labels [{choice.option}]")
    return [case for case in cases if case[CASE_ID] not in weeded.left_out]
