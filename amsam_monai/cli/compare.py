"""`amsam compare`: two summaries, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(add_completion=False)


@app.command()
@plain_errors
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="summary.json, or the folder that holds it.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="summary.json, or the folder that holds it.")],
) -> None:
    """Compare two evaluations of the same cases: paired means and Wilcoxon's signed-rank test."""
    from rich.console import Console
    from rich.table import Table

    from amsam_monai.evaluation.compare import compare_summaries
    from amsam_monai.evaluation.summary import read_summary
    from amsam_monai.evaluation.tables import format_value

    summaries = [read_summary(path) for path in (first, second)]
    rows, notes = compare_summaries(*summaries)
    table = Table("column", "label", "n", "A", "B", "B - A", "B higher / lower", "p", title="paired by case and label")
    for row in rows:
        values = [format_value(value, row.column) for value in (row.first, row.second, row.difference)]
        counts = "{} / {}".format(*row.better)
        table.add_row(row.column, row.label, str(row.pairs), *values, counts, "-" if row.p is None else f"{row.p:.2g}")
    console = Console(width=max(Console().width, 100), soft_wrap=True)
    console.print(table, soft_wrap=False)
    console.print(f"protocol {summaries[0]['protocol']}; p of Wilcoxon's signed-rank test, two-sided", markup=False)
    for note in notes:
        console.print(note, markup=False, highlight=False)
