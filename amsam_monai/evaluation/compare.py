"""Two reports of the same cases, compared case by case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

ALL = "all"


@dataclass(frozen=True)
class Comparison:
    """A column of a class in two reports, over the cases that have a value in both.

    Args:
        label: class; ALL is the mean of a case's classes.
        column: such as "dice".
        pairs: cases in both.
        first: mean in the first report.
        second: mean in the second report.
        difference: mean of second minus first.
        better: cases in which the second is larger, and smaller.
        p: of Wilcoxon's signed-rank test, two-sided; None where no case differs or there is none.
    """

    label: str
    column: str
    pairs: int
    first: float | None
    second: float | None
    difference: float | None
    better: tuple[int, int]
    p: float | None


def compare_summaries(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[list[Comparison], list[str]]:
    """Paired comparison by case and class, and notes on what could not be paired.

    Args:
        first: a summary, from `read_summary`.
        second: another one.

    Raises:
        ValueError: protocols differ, or they share no case and class.
    """
    if first["protocol"] != second["protocol"]:
        raise ValueError(
            f"summaries must have one protocol, got {first['protocol']} and {second['protocol']}; evaluate both alike."
        )
    tables = [_by_case(summary) for summary in (first, second)]
    shared = sorted(tables[0].keys() & tables[1].keys())
    if not shared:
        raise ValueError("summaries must share cases and classes, got none in common; check the names of the cases.")
    notes = [
        f"{len(table) - len(shared)} case-and-class rows are only in the {which} summary"
        for table, which in zip(tables, ("first", "second"), strict=True)
        if len(table) > len(shared)
    ]
    columns = [column for column in first["columns"] if column in second["columns"]]
    alone = [column for column in (*first["columns"], *second["columns"]) if column not in columns]
    notes += [f"not in both: {', '.join(dict.fromkeys(alone))}"] if alone else []
    names = [name for name in first["labels"].values() if any(label == name for _, label in shared)]
    rows = []
    for column in columns:
        values = {key: (tables[0][key].get(column), tables[1][key].get(column)) for key in shared}
        known = {key: both for key, both in values.items() if None not in both}
        rows += [_compare(name, column, [both for key, both in known.items() if key[1] == name]) for name in names]
        if len(names) > 1:
            rows.append(_compare(ALL, column, _case_means(known)))
    return rows, notes


def _by_case(summary: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, float | None]]:
    return {(score["case"], score["label"]): score["values"] for score in summary["scores"]}


def _case_means(known: Mapping[tuple[str, str], tuple[Any, Any]]) -> list[tuple[float, float]]:
    """One pair per case, so that classes of a case do not count as if they were cases of their own."""
    cases: dict[str, list[tuple[float, float]]] = {}
    for (case, _), both in known.items():
        cases.setdefault(case, []).append(both)
    return [(float(np.mean([a for a, _ in rows])), float(np.mean([b for _, b in rows]))) for rows in cases.values()]


def _compare(label: str, column: str, pairs: list[Any]) -> Comparison:
    if not pairs:
        return Comparison(label, column, 0, None, None, None, (0, 0), None)
    first, second = np.array(pairs, dtype=float).T
    difference = second - first
    counts = int((difference > 0).sum()), int((difference < 0).sum())
    means = float(first.mean()), float(second.mean()), float(difference.mean())
    return Comparison(label, column, len(pairs), *means, counts, _wilcoxon(difference))


def _wilcoxon(difference: np.ndarray) -> float | None:
    if not difference.any():
        return None
    from scipy.stats import wilcoxon  # here, since it takes longer than the rest of the comparison

    return float(wilcoxon(difference).pvalue)
