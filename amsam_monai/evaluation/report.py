"""Write scores for machines (scores.csv, summary.json) and for people (report.md, report.html)."""

from __future__ import annotations

import csv
import html
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.evaluation.pairs import LoadedPair, Pair, load_pair
from amsam_monai.evaluation.pictures import box_plot, worst_overlay
from amsam_monai.evaluation.published import beside_rows, published_datasets
from amsam_monai.evaluation.scoring.case_scores import HIGHER_IS_BETTER
from amsam_monai.evaluation.scoring.score import Score, metric_of
from amsam_monai.evaluation.summary import write_summary
from amsam_monai.evaluation.tables import Table, format_value, html_table, markdown_table, summary_tables
from amsam_monai.handlers.overlays import COLOURS


def write_report(
    folder: str | os.PathLike[str],
    scores: Sequence[Score],
    summary: Mapping[str, Any],
    *,
    pairs: Sequence[Pair] = (),
    beside: str | None = None,
    worst: int = 12,
) -> list[Path]:
    """Write scores.csv, summary.json, report.md and report.html, each whole or not at all.

    Args:
        folder: where to.
        scores: of all cases.
        summary: of them, from `summarise`.
        pairs: files of the cases, for the pictures.
        beside: data set whose published results are printed too.
        worst: cases to show.

    Raises:
        ValueError: unknown data set.
    """
    target = Path(folder)
    beside_table = _beside(beside, summary) if beside else None
    paths = [target / name for name in ("scores.csv", "summary.json", "report.md", "report.html")]
    write_scores(scores, summary["columns"], paths[0])
    write_summary(summary, paths[1])
    texts = markdown(summary, beside, beside_table), page(scores, summary, pairs, beside, beside_table, worst)
    for path, text in zip(paths[2:], texts, strict=True):
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return paths


def write_scores(scores: Iterable[Score], columns: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write one line per case and class: case, label, the columns, outcome; an empty field is no value."""
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "label", *columns, "outcome"])
        for score in scores:
            values = [score.values.get(column, math.nan) for column in columns]
            writer.writerow(
                [
                    cell(score.case),
                    cell(score.label),
                    *("" if math.isnan(v) else f"{v:.6g}" for v in values),
                    score.outcome,
                ]
            )


def cell(text: str) -> str:
    """A name as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def markdown(summary: Mapping[str, Any], beside: str | None = None, beside_table: Table | None = None) -> str:
    """The report as Markdown."""
    parts = [f"# {_title(summary)}", _intro(summary), *(f"> {note}" for note in _notes(summary))]
    for heading, table in summary_tables(summary):
        parts += [f"## {heading}", markdown_table(table)]
    if beside and beside_table:
        parts += [f"## Published on {published_datasets()[beside]}", BESIDE_NOTE, markdown_table(beside_table)]
    return "\n\n".join(parts) + "\n"


def page(
    scores: Sequence[Score],
    summary: Mapping[str, Any],
    pairs: Sequence[Pair] = (),
    beside: str | None = None,
    beside_table: Table | None = None,
    worst: int = 12,
) -> str:
    """The report as one HTML page that needs nothing else."""
    names = list(summary["labels"].values())
    swatches = "".join(
        f'<span class="swatch" style="background: rgb{COLOURS[place % len(COLOURS)]}"></span>{html.escape(name)}'
        for place, name in enumerate(names)
    )
    published = ""
    if beside and beside_table:
        heading = html.escape(published_datasets()[beside])
        published = f"<h2>Published on {heading}</h2><p>{html.escape(BESIDE_NOTE)}</p>{html_table(beside_table)}"
    return Template(files("amsam_monai.evaluation").joinpath("report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(_title(summary)),
        intro=html.escape(_intro(summary)),
        notes="".join(f'<p class="note">{html.escape(note)}</p>' for note in _notes(summary)),
        legend=f"Prediction in colour, label outlined in white; volumes show the slice with most errors.{swatches}",
        cases="\n".join(_figures(scores, summary, pairs, worst)),
        tables="\n".join(
            f"<h3>{html.escape(heading)}</h3>{html_table(table)}" for heading, table in summary_tables(summary)
        ),
        plots="\n".join(
            f'<img alt="box plot of {column}" src="{box_plot(list(scores), column, names)}">'
            for column in summary["columns"]
        ),
        beside=published,
    )


def worst_cases(scores: Sequence[Score], column: str = "dice") -> list[tuple[str, float]]:
    """Cases by the mean of their classes in a column, worst first; cases without a value are left out."""
    values: dict[str, list[float]] = {}
    for score in scores:
        if not math.isnan(value := score.values.get(column, math.nan)):
            values.setdefault(score.case, []).append(value)
    means = [(case, float(np.mean(found))) for case, found in values.items()]
    return sorted(means, key=lambda item: (item[1] if HIGHER_IS_BETTER[metric_of(column)] else -item[1], item[0]))


BESIDE_NOTE = (
    "As printed by the papers, with their splits and their evaluations; compare with the protocol they used, and mind "
    "that few give a spread."
)


def _title(summary: Mapping[str, Any]) -> str:
    return f"Scores of {summary['cases']} case{'s' if summary['cases'] != 1 else ''}, protocol {summary['protocol']}"


def _intro(summary: Mapping[str, Any]) -> str:
    sampling = summary["bootstrap"]
    return (
        f"{summary['protocol_summary']} Intervals: 95% bootstrap of the mean over cases, {sampling['resamples']} "
        f"samples, seed {sampling['seed']}. Row `mean` averages the classes' means; its sd and median are over cases."
    )


def _notes(summary: Mapping[str, Any]) -> list[str]:
    notes = [f"Approximate: {summary['approximate']}."] if summary["approximate"] else []
    if any(column.endswith("vox") for column in summary["columns"]):
        notes.append(
            "Distances in columns that end in vox are in voxels: no spacing is known, or the protocol ignores it."
        )
    return [*notes, *summary["notes"]]


def _beside(dataset: str, summary: Mapping[str, Any]) -> Table:
    if dataset not in published_datasets():
        raise ValueError(f"beside must be one of {', '.join(published_datasets())}, got {dataset!r}.")
    metrics = list(dict.fromkeys(metric_of(column) for column in summary["columns"]))
    header, rows = beside_rows(dataset, list(summary["labels"].values()), metrics)
    return header, rows


def _figures(scores: Sequence[Score], summary: Mapping[str, Any], pairs: Sequence[Pair], worst: int) -> list[str]:
    files_of = {pair.case: pair for pair in pairs}
    labels = {int(index): name for index, name in summary["labels"].items()}
    figures = []
    for case, mean in worst_cases(scores)[:worst]:
        if case not in files_of:
            continue
        loaded: LoadedPair = load_pair(files_of[case], labels)
        per_class = [score for score in scores if score.case == case]
        caption = f"<b>{html.escape(case)}</b> dice {mean:.3f}" + "".join(map(_class_line, per_class))
        source = worst_overlay(loaded, labels)
        figures.append(
            f'<figure><img alt="{html.escape(case)}" src="{source}"><figcaption>{caption}</figcaption></figure>'
        )
    return figures


def _class_line(score: Score) -> str:
    shown = [
        f"{column} {format_value(value, column)}" for column, value in list(score.values.items())[:2] if value == value
    ]
    return f"<br>{html.escape(score.label)}: {', '.join(shown) or 'no value'} ({score.outcome.replace('_', ' ')})"
