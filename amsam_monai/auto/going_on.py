"""A training that was begun in a folder goes on: its plan is read, and refused for other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amsam_monai.auto.cases import ids_of
from amsam_monai.auto.plan import Plan
from amsam_monai.data.files.atomic import taken

PLAN, WORK, REPORT = "plan.json", ".trials", "report"  # in the folder of a bundle that is trained


def plan_in(out: Path) -> Plan | None:
    """The plan of a training that was begun in a folder.

    Raises:
        FileExistsError: the folder holds something else.
    """
    if (out / PLAN).is_file():
        if (out / REPORT).is_dir() and not (out / WORK).exists():
            raise FileExistsError(
                f"{out} holds a bundle that is trained already; name another folder, or go on from it with --from."
            )
        return Plan.read(out / PLAN)
    if taken(out):
        raise FileExistsError(f"{out} must be a new folder, or hold the {PLAN} of a training to go on; name another.")
    return None


def refuse_other(plan: Plan, datalist: Sequence[Mapping[str, Any]], classes: Mapping[str, int], seed: int) -> None:
    """Refuse to go on with other cases, classes or another seed than a plan's.

    Raises:
        ValueError: something is other.
    """
    here = sorted(ids_of(datalist))
    for what, have, want in (
        ("cases", sorted(plan.cases), here),
        ("classes", plan.classes, dict(classes)),
        ("seed", plan.seed, seed),
    ):
        if have != want:
            raise ValueError(f"the training to go on has other {what}: {have}, got {want}; name another folder.")
