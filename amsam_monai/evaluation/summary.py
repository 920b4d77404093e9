"""From the scores of cases to a table: mean, sd, median, bootstrap interval, and how many were missed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.evaluation.scoring.overlap import OUTCOMES
from amsam_monai.evaluation.scoring.score import Score

if TYPE_CHECKING:
    from amsam_monai.evaluation.scoring.protocols import Protocol

FORMAT = "amsam_monai scores, version 1"
RESAMPLES, SEED = 2000, 0


def summarise(
    scores: Sequence[Score],
    labels: Mapping[int, str],
    protocol: Protocol,
    *,
    from_logits: bool = False,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything a report says, as JSON holds it (None for no value).

    `classes` has per class the outcomes counted and per column mean, sd (of the sample), median, 95% interval of the
    mean (percentile bootstrap over cases, fixed seed) and n, the cases with a value. `mean` averages the means of the
    classes; its sd and median are over cases, each the mean of its classes. `scores` are the cases.

    Args:
        scores: of all cases.
        labels: index to name.
        protocol: they were scored by.
        from_logits: they come from logits, so that no protocol is approximate.
        notes: to print under the table.

    Raises:
        ValueError: there is no score.
    """
    if not scores:
        raise ValueError("a summary needs at least one score, got none.")
    cases = list(dict.fromkeys(score.case for score in scores))
    columns = list(dict.fromkeys(column for score in scores for column in score.values))
    tables = {column: _matrix(scores, cases, list(labels.values()), column) for column in columns}
    draws = np.random.default_rng(SEED).integers(len(cases), size=(RESAMPLES, len(cases)))
    return {
        "format": FORMAT,
        "protocol": protocol.name,
        "protocol_summary": protocol.summary,
        "approximate": "" if from_logits else protocol.approximate,
        "labels": {str(index): name for index, name in labels.items()},
        "cases": len(cases),
        "columns": columns,
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "unit": "case", "interval": 0.95},
        "classes": {
            name: {
                "outcomes": _outcomes(scores, name),
                **{column: describe(tables[column][:, [place]], draws) for column in columns},
            }
            for place, name in enumerate(labels.values())
        },
        "mean": {column: describe(tables[column], draws) for column in columns},
        "notes": list(notes),
        "scores": [_without_nan(asdict(score)) for score in scores],
    }


def describe(table: np.ndarray, draws: np.ndarray) -> dict[str, float | int | list[float] | None]:
    """Statistics of a column: mean of the classes' means, and the spread of the cases.

    Args:
        table: values, NaN for none.
        draws: cases of each bootstrap sample.

    Shape: table (cases, classes), draws (samples, cases).
    """
    per_case = np.array([_mean(row[~np.isnan(row)]) for row in table])
    per_case = per_case[~np.isnan(per_case)]
    if per_case.size == 0:
        return {"mean": None, "sd": None, "median": None, "ci95": None, "n": 0}
    means = bootstrap_means(table, draws)
    means = means[~np.isnan(means)]
    interval = [float(end) for end in np.percentile(means, [2.5, 97.5])] if per_case.size > 1 and means.size else None
    return {
        "mean": _mean_of_class_means(table),
        "sd": float(per_case.std(ddof=1)) if per_case.size > 1 else None,
        "median": float(np.median(per_case)),
        "ci95": interval,
        "n": int(per_case.size),
    }


def bootstrap_means(table: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Mean of the classes' means in each bootstrap sample. Shape (cases, classes), (samples, cases) -> (samples,)."""
    per_class = []
    for values in table.T:
        there = ~np.isnan(values)
        total = np.where(there, values, 0.0)[draws].sum(axis=1)
        count = there[draws].sum(axis=1)
        per_class.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    stacked = np.stack(per_class)
    valid = ~np.isnan(stacked)
    return np.where(valid.any(0), np.where(valid, stacked, 0).sum(0) / np.maximum(valid.sum(0), 1), np.nan)


def write_summary(summary: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a summary as JSON, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(summary, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def read_summary(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read `summary.json`; a folder that holds one will do.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is not a summary of this package.
    """
    file = Path(path)
    file = file / "summary.json" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such summary; `amsam evaluate ... --out DIR` writes DIR/summary.json.")
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file} must be the JSON that `amsam evaluate` writes, could not be read: {error}."
        ) from error
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        found = summary.get("format") if isinstance(summary, dict) else type(summary).__name__
        raise ValueError(f"{file} must have the format {FORMAT!r}, got {found!r}; run `amsam evaluate` again.")
    return summary


def _matrix(scores: Sequence[Score], cases: list[str], names: list[str], column: str) -> np.ndarray:
    rows, places = {case: row for row, case in enumerate(cases)}, {name: place for place, name in enumerate(names)}
    table = np.full((len(cases), len(names)), np.nan)
    for score in scores:
        table[rows[score.case], places[score.label]] = score.values.get(column, np.nan)
    return table


def _mean_of_class_means(table: np.ndarray) -> float:
    means = np.array([_mean(values[~np.isnan(values)]) for values in table.T])
    return _mean(means[~np.isnan(means)])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _outcomes(scores: Sequence[Score], name: str) -> dict[str, int]:
    return {outcome: sum(score.label == name and score.outcome == outcome for score in scores) for outcome in OUTCOMES}


def _without_nan(score: dict[str, Any]) -> dict[str, Any]:
    values = {column: None if math.isnan(value) else value for column, value in score["values"].items()}
    return {**score, "values": values}
