"""`amsam evaluate`: score predictions against labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amsam_monai.cli.errors import plain_errors
from amsam_monai.cli.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(add_completion=False)


@app.command()
@plain_errors
def evaluate(
    pred: Annotated[Path, typer.Argument(metavar="PRED", help="Label maps to score: a file or a folder.")],
    truth: Annotated[Path, typer.Argument(metavar="LABELS", help="Labels to score against: a file or a folder.")],
    labels: Annotated[str, typer.Option(help="Classes, such as 1=RV,2=Myo,3=LV.")],
    out: Annotated[Path, typer.Option(help="Folder for scores.csv, summary.json, report.md and report.html.")],
    own: Annotated[
        str | None, typer.Option("--map", help="Values (or names) that LABELS have: Myo=1,LV=2,RV=3; by name.")
    ] = None,
    own_pred: Annotated[str | None, typer.Option("--map-pred", help="The same of PRED.")] = None,
    protocol: Annotated[str, typer.Option(help="strict, transunet, aisam, autosam or blosam.")] = "strict",
    images: Annotated[Path | None, typer.Option(help="Images, for the report's pictures.")] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Of NSD; mm where the spacing is known, or voxels.")] = 2.0,
    sod: Annotated[bool, typer.Option("--sod", help="Add S, E, weighted F and mean F measures (pictures).")] = False,
    probabilities: Annotated[
        Path | None, typer.Option(help="Folder of probabilities for --sod: npz of `amsam segment`, or grey pictures.")
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="Score single objects too: panoptic quality, average precision at .5.")
    ] = False,
    beside: Annotated[
        str | None, typer.Option(help="Print published results too: synapse, acdc, isic, tiktok, human, glas ...")
    ] = None,
    side: Annotated[int | None, typer.Option(min=8, help="Grid of autosam: 512; GlaS 256, polyps 352.")] = None,
    names: Annotated[
        bool, typer.Option("--names/--no-names", help="Name the cases in the reports, or number them.")
    ] = True,
    only_matched: Annotated[
        bool, typer.Option("--only-matched", help="Leave out cases without a partner instead of refusing.")
    ] = False,
    worst: Annotated[int, typer.Option(min=0, help="Cases to show in report.html.")] = 12,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads [default: all cores].")] = None,
    scheduler: Scheduler = None,
) -> None:
    """Score predictions, ours or anybody's, against labels.

    Cases are matched by file name; endings such as _seg, _pred, _gt, _label do not matter. NIfTI, NRRD, MetaImage,
    PNG, TIF, npz and h5; .seg.nrrd of 3D Slicer and DICOM-SEG, by the names of their segments. Nothing is
    written if a file lacks its partner or does not fit it. With --instances, objects are those of NAME_instances.*
    beside a file, or else connected parts.
    """
    from rich.console import Console
    from rich.progress import Progress

    from amsam_monai.cluster.cluster import on_workers
    from amsam_monai.data.files.atomic import check_writable
    from amsam_monai.evaluation.evaluate import evaluate_pairs
    from amsam_monai.evaluation.label_maps import parse_map
    from amsam_monai.evaluation.pairs import find_pairs, parse_labels
    from amsam_monai.evaluation.panoptic import score_objects
    from amsam_monai.evaluation.published import published_results
    from amsam_monai.evaluation.report import write_report
    from amsam_monai.evaluation.scoring.protocols import get_protocol
    from amsam_monai.evaluation.summary import summarise

    table = parse_labels(labels)
    maps = [None if text is None else parse_map(text, table) for text in (own, own_pred)]
    rules = get_protocol(protocol, side=side)
    published_results(beside)  # an unknown data set is refused before the work
    pairs = find_pairs(
        pred, truth, images, only_matched=only_matched, names=table.values(), own=maps[0], own_pred=maps[1]
    )
    check_writable(out)
    errors = Console(stderr=True)
    with on_workers(scheduler) as spread, Progress(console=errors, transient=True) as bar:
        task = bar.add_task("scoring", total=len(pairs))
        scores, notes = evaluate_pairs(
            pairs,
            table,
            protocol=rules,
            tolerance=tolerance,
            sod=sod or probabilities is not None,
            probabilities=probabilities,
            workers=workers,
            progress=lambda: bar.advance(task),
            spread=spread,
        )
    if not names:
        numbers = {pair.case: f"case {number}" for number, pair in enumerate(pairs, 1)}
        scores = [replace(score, case=numbers[score.case]) for score in scores]
        pairs = [replace(pair, case=numbers[pair.case]) for pair in pairs]
    summary = summarise(scores, table, rules, notes=notes)
    if instances:
        summary["objects"] = score_objects(pairs, table)
    paths = write_report(out, scores, summary, pairs=pairs, beside=beside, worst=worst)
    show(summary)
    for path in paths:
        typer.echo(path)


def show(summary: Mapping[str, Any]) -> None:
    """Print means per class, and how many were missed."""
    from rich.console import Console
    from rich.table import Table

    from amsam_monai.evaluation.tables import means_of, object_table

    columns = summary["columns"]
    table = Table("label", *columns, "missed", "false", "both empty", title=f"protocol {summary['protocol']}")
    for name, row in summary["classes"].items():
        counts = [str(row["outcomes"][outcome]) for outcome in ("missed", "false", "both_empty")]
        table.add_row(name, *means_of(row, columns), *counts)
    if len(summary["classes"]) > 1:
        table.add_row("mean", *means_of(summary["mean"], columns))
    console = Console(width=max(Console().width, 13 * (len(columns) + 4)), soft_wrap=True)  # numbers are never cut
    console.print(table, soft_wrap=False)
    if "objects" in summary:
        header, rows = object_table(summary["objects"])
        single = Table(*header, title="single objects")
        for cells in rows:
            single.add_row(*cells)
        console.print(single, soft_wrap=False)
    approximate = [f"approximate: {summary['approximate']}"] if summary["approximate"] else []
    for note in [*approximate, *summary["notes"]]:
        console.print(note, markup=False, highlight=False)
