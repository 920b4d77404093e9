"""Strict Dice of predicted label maps at native size, and what Dice was expected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.files.images import list_inputs, read_label, stem_of
from amsam_monai.evaluation.scoring.case_scores import score_case
from amsam_monai.evaluation.scoring.protocols import get_protocol
from amsam_monai.evaluation.summary import summarise
from amsam_monai.segment.batch_report import REPORT
from benchmarks.own.tasks import Task


def score_folder(task: Task, folder: Path, names: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Dice of a task's test cases: of each case, the mean of each class, and the mean of the classes.

    Args:
        task: the task.
        folder: predicted label maps, called after their cases.
        names: value in the predictions -> name of the class; None where they are 1, 2, ... in the task's order.

    Raises:
        ValueError: a case without a prediction or of another size, or a class that the task lacks.
    """
    names = names or dict(enumerate(task.labels.values(), start=1))
    if strange := set(names.values()) - set(task.labels.values()):
        raise ValueError(f"{task.name}: predictions must name classes of {task.table}, got {', '.join(strange)}.")
    values = {name: value for value, name in task.labels.items()}
    files = {stem_of(file): file for file in list_inputs(folder)}
    strict, scores = get_protocol("strict"), []
    for item in task.test:
        case = str(item["case_id"])
        if case not in files:
            raise ValueError(f"{task.name}: every test case must have a prediction in {folder}, {case} has none.")
        truth, found = task.read(item).label.array, read_label(files[case]).array
        pred = np.zeros(found.shape, truth.dtype)
        for value, name in names.items():
            pred[found == value] = values[name]
        scores += score_case(pred, truth, task.labels, case=case, protocol=strict, metrics=("dice",), workers=1)
    summary = summarise(scores, task.labels, strict)
    cases: dict[str, dict[str, float | None]] = {}
    for score in summary["scores"]:
        cases.setdefault(score["case"], {})[score["label"]] = score["values"]["dice"]
    return {
        "dice": summary["mean"]["dice"]["mean"],
        "classes": {name: row["dice"]["mean"] for name, row in summary["classes"].items()},
        "cases": cases,
    }


def expected_of(folder: Path) -> dict[str, dict[str, float | None]]:
    """The Dice that `amsam segment` expected of its masks, by case and class, from the report beside them."""
    cases = json.loads((folder / REPORT).read_text(encoding="utf-8"))["cases"]
    return {
        stem_of(Path(case["input"])): {name: one["case"][0] for name, one in case["quality"].items()} for case in cases
    }
