"""`amsam prepare`: a data set checked, listed and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from amsam_monai.cli.errors import plain_errors
from amsam_monai.cli.scheduler import Scheduler

app = typer.Typer(add_completion=False)

# Options about data of your own, of each command that reads them
Patients = Annotated[
    str | None,
    typer.Option(help="Which cases are of one patient: '(.+)_[LR]', a pattern of the case ids, or cases.csv."),
]
Channel = Annotated[int | None, typer.Option(min=0, help="Of data of your own: which of several channels an image is.")]


@app.command()
@plain_errors
def prepare(
    dataset: Annotated[
        str,
        typer.Argument(help="own, acdc, synapse, isic, glas, monuseg, kvasir, polyp, sunseg, tiktok, human or plain."),
    ],
    src: Annotated[Path, typer.Argument(help="Folder of the data set, as its owner or a common copy lays it out.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; made if missing.")],
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Name of a split (official ...), a JSON file, or folders; default: the data set's own."),
    ] = None,
    labels: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="What label ids mean: a table's name, or 1=RV,2=Myo,3=LV."),
    ] = None,
    edition: Annotated[Optional[str], typer.Option(help="isic: 2016, 2017 or 2018.")] = None,  # noqa: UP045
    form: Annotated[Optional[str], typer.Option(help="acdc copies: auto, slice or volume.")] = None,  # noqa: UP045
    patients: Patients = None,
    channel: Channel = None,
    skip_broken: Annotated[bool, typer.Option(help="Leave offending cases out and list them in the report.")] = False,
    absolute: Annotated[bool, typer.Option(help="Absolute paths in dataset.json; relative to it by default.")] = False,
    sheet_cases: Annotated[int, typer.Option(help="Cases on the contact sheet.", min=1)] = 24,
    scheduler: Scheduler = None,
) -> None:
    """Check a data set; write dataset.json, a report and a contact sheet. Images stay where they are."""
    from amsam_monai.cluster.cluster import on_workers
    from amsam_monai.data.prepare.prepare import prepare as prepare_dataset

    with on_workers(scheduler) as spread:
        prepared = prepare_dataset(
            dataset,
            src,
            out,
            skip_broken=skip_broken,
            absolute=absolute,
            sheet_cases=sheet_cases,
            progress=True,
            spread=spread,
            split=split,
            labels=table_of(labels),
            edition=edition,
            form=form,
            patients=patients,
            channel=channel,
        )
    report = prepared.report
    sections = ", ".join(
        f"{count} {name if name != 'none' else 'in no section'}" for name, count in report["sections"].items()
    )
    patients_seen = counted(report["patients"], "patient")
    typer.echo(f"{dataset}: {counted(report['cases'], 'case')} of {patients_seen} ({sections})")
    for row in report["labels"]:
        size = f"mean {row['mean_ml']} ml" if row["mean_ml"] is not None else f"mean {row['mean_voxels']} pixels"
        typer.echo(f"  {row['id']} {row['name']}: in {counted(row['cases'], 'case')}, {size}")
    for note in report["notes"]:
        typer.echo(f"  note: {note}")
    if report["problems"]:
        typer.echo(f"  left out, for {counted(len(report['problems']), 'problem')}: see the report")
    for path in prepared.files:
        typer.echo(f"wrote {path}")


def counted(number: int, noun: str) -> str:
    """1 case, 2 cases."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def table_of(text: str | None) -> str | dict[int, str] | None:
    """A table's name as it is, or "1=RV,2=Myo" as a table."""
    if text is None or "=" not in text:
        return text
    pairs = [part.split("=", 1) for part in text.split(",")]
    if not all(len(pair) == 2 and pair[0].strip().isdigit() for pair in pairs):
        raise ValueError(f"labels must be a table's name or like 1=RV,2=Myo, got {text!r}.")
    return {int(value): name.strip() for value, name in pairs}
