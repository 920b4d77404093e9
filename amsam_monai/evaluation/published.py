"""Results as the papers print them, to stand beside ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class PublishedResult:
    """One number of a paper's table, on the scale and in the unit that the paper prints.

    Args:
        method: name in the table.
        dataset: key of `published_datasets`.
        metric: as our columns call it, without unit ("dice", "hd95", "s_measure").
        value: the number.
        unit: "%", "voxel", or "1" for a plain number.
        source: paper and table.
        setting: shots, prompts, or automatic.
        label: class; None is the mean.
        protocol: ours that comes closest to the evaluation behind it, as far as it is known; None otherwise.
    """

    method: str
    dataset: str
    metric: str
    value: float
    unit: str
    source: str
    setting: str
    label: str | None = None
    protocol: str | None = None


@cache
def _content() -> dict[str, Any]:
    return json.loads(files("amsam_monai.evaluation").joinpath("published.json").read_text(encoding="utf-8"))


def published_datasets() -> dict[str, str]:
    """Data sets with published results: key and name."""
    return dict(_content()["datasets"])


def published_results(
    dataset: str | None = None, *, metrics: Sequence[str] | None = None, source: str | None = None
) -> list[PublishedResult]:
    """Results in the papers' order.

    Args:
        dataset: one key of `published_datasets`; all by default.
        metrics: those wanted; all by default.
        source: start of the source, such as "AM-SAM"; all by default.

    Raises:
        ValueError: unknown data set.
    """
    if dataset is not None and dataset not in published_datasets():
        raise ValueError(f"data set must be one of {', '.join(published_datasets())}, got {dataset!r}.")
    return [
        result
        for result in (PublishedResult(**entry) for entry in _content()["results"])
        if (dataset is None or result.dataset == dataset)
        and (metrics is None or result.metric in metrics)
        and (source is None or result.source.startswith(source))
    ]


def published_confusion() -> dict[str, Any]:
    """AI-SAM's Fig. 2 on ACDC: `labels`, and `ocm` and `pcm` per kind of prompt; rows are prompts, columns classes."""
    return dict(_content()["confusion"])


def beside_rows(dataset: str, labels: Sequence[str], metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Published results of a data set as a table: header, and a row per method and setting.

    Args:
        dataset: key of `published_datasets`.
        labels: classes of the report; a column each where the papers have them.
        metrics: of the report, without units.
    """
    results = [result for result in published_results(dataset) if result.metric in metrics]
    spelled = {label.lower(): label for label in labels}
    wanted = [result for result in results if result.label is None or result.label.lower() in spelled]
    columns = list(dict.fromkeys((result.label, result.metric, result.unit) for result in wanted))
    columns.sort(key=lambda column: (column[0] is not None, list(metrics).index(column[1])))
    header = [" ".join(filter(None, (label, metric, {"1": ""}.get(unit, unit)))) for label, metric, unit in columns]
    rows: dict[tuple[str, str, str], dict[Any, str]] = {}
    for result in wanted:
        row = rows.setdefault((result.method, result.setting, result.source), {})
        row[(result.label, result.metric, result.unit)] = f"{result.value:g}"
    body = [[*key, *(row.get(column, "") for column in columns)] for key, row in rows.items()]
    return ["method", "setting", "source", *header], body
