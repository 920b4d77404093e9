"""Tables of a report, as Markdown and as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from amsam_monai.evaluation.scoring.score import metric_of

Table = tuple[list[str], list[list[str]]]  # header, rows


def summary_tables(summary: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """Headings and tables of a summary: means, outcomes counted, then each column in full."""
    columns = summary["columns"]
    rows = {**summary["classes"], "mean": summary["mean"]} if len(summary["classes"]) > 1 else summary["classes"]
    overview = [
        [name, *(format_value(row[column]["mean"], column) for column in columns)] for name, row in rows.items()
    ]
    outcomes = [
        [name, str(summary["cases"]), *(str(row["outcomes"][key]) for key in ("missed", "false", "both_empty"))]
        for name, row in summary["classes"].items()
    ]
    tables = [
        ("Means", (["label", *columns], overview)),
        ("Missed and empty", (["label", "cases", "missed", "false", "both empty (no organ, none found)"], outcomes)),
    ]
    if "objects" in summary:
        tables.insert(1, (f"Single objects at an IoU of {summary['objects']['iou']}", object_table(summary["objects"])))
    for column in columns:
        body = [[name, *_described(row[column], column)] for name, row in rows.items()]
        tables.append((column, (["label", "n", "mean", "sd", "median", "95% interval"], body)))
    return tables


def object_table(objects: Mapping[str, Any]) -> Table:
    """The scores of single objects, see `score_objects`, as a table."""
    shares, counts = ("pq", "sq", "rq", "ap50"), ("found", "false", "missed")
    rows = [
        [name, *(format_value(row[column], column) for column in shares), *(str(row[column]) for column in counts)]
        for name, row in objects["classes"].items()
    ]
    if len(rows) > 1:
        rows.append(
            ["mean", *(format_value(objects["mean"][column], column) for column in shares), *[""] * len(counts)]
        )
    return ["label", *(column.upper() for column in shares), *counts], rows


def means_of(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """The means of a row, as text."""
    return [format_value(row[column]["mean"], column) for column in columns]


def _described(row: Mapping[str, Any], column: str) -> list[str]:
    interval = row["ci95"]
    ends = " to ".join(format_value(end, column) for end in interval) if interval else "-"
    return [str(row["n"]), *(format_value(row[key], column) for key in ("mean", "sd", "median")), ends]


def format_value(value: float | None, column: str) -> str:
    """A value as reports print it: two digits for distances, four for shares, "-" for none."""
    if value is None:
        return "-"
    return f"{value:.2f}" if metric_of(column) in ("hd95", "assd") else f"{value:.4f}"


def markdown_table(table: Table) -> str:
    """A table as Markdown; columns of words are on the left."""
    header, rows = table
    words = [any(" " in row[place] and row[place][:1].isalpha() for row in rows) for place in range(len(header))]
    lines = [header, ["---" if place == 0 or words[place] else "---:" for place in range(len(header))], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def html_table(table: Table) -> str:
    """A table as HTML."""
    header, rows = table
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
