"""`amsam train`: labelled images of your own in, a bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amsam_monai.cli.errors import plain_errors
from amsam_monai.cli.prepare import Channel, Patients, table_of

app = typer.Typer(add_completion=False)


@app.command()
@plain_errors
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images and labels, or a list of pairs.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle: new, or of a training that was stopped.")],
    labels: Annotated[
        str | None,
        typer.Option(help="What label values mean: 1=RV,2=Myo; by default as the data name them."),
    ] = None,
    channel: Channel = None,
    patients: Patients = None,
    ids: Annotated[
        str | None,
        typer.Option(help="Cases or patients that train, a,b,c or a file of them; all by default."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="plain, autosam, aisam, amsam, the mean of two, a+b, or several to choose among: a,b; by default all."
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="For everything, on this machine.")] = 30.0,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the final training, instead of as many as fit the minutes."),
    ] = None,
    folds: Annotated[int, typer.Option(min=0, max=10, help="Of the cross-validation; 0 with --method: none.")] = 3,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    side: Annotated[int | None, typer.Option(min=64, help="Of SAM's square, a multiple of 16.")] = None,
    intensity: Annotated[
        str | None,
        typer.Option(help="hu_window, hu_window:-160:240, percentile, bit_depth, min_max or none."),
    ] = None,
    mirrors: Annotated[
        str | None,
        typer.Option(help="Mirror images that are as good: horizontal, vertical, both or none."),
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="Slices before and after that are seen with a slice."),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="Of amsam: yolo, or embedding, which reads SAM's own; by default yolo where it is here."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Part of SAM's image encoder that plain trains: late (its later half) or full."),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings of plain whose weights are averaged; by default up to 3, as time allows."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Bundle to go on from, by path or name; its method and settings stay."),
    ] = None,
    pool: Annotated[
        Path | None,
        typer.Option(help="Folder of unlabelled images: the report tells which to label next."),
    ] = None,
    axis: Annotated[
        str | None,
        typer.Option(help="Plane of the slices: axial, coronal, sagittal, or thickest, each volume's own."),
    ] = None,
    suspects: Annotated[
        str,
        typer.Option(
            help="Cases far worse than the others: measure leaves them out where the rest does no worse, or keep."
        ),
    ] = "measure",
) -> None:
    """Train a segmenter on labelled images of your own.

    DATA is a folder with images/ and labels/ (or masks/), imagesTr/ and labelsTr/, a .json or .csv of pairs, or
    whatever else `amsam prepare own` reads. The methods are cross-validated on your cases, and the best one, or the
    mean of the best two, is trained on all of them. OUT is then a bundle for `amsam segment`, `amsam annotate`, `amsam
    label start` and `monai.bundle run`, with the plan and a report. Give the same command again to go on after a stop.
    """
    from amsam_monai.auto.train import train as train_on_own

    table = table_of(labels)
    if isinstance(table, str):
        raise ValueError(f"labels must be like 1=RV,2=Myo, got {labels!r}.")
    if start is not None:
        from amsam_monai.auto.refine import refine

        settled = {"method": method, "side": side, "intensity": intensity, "mirrors": mirrors}
        settled |= {"neighbours": neighbours, "axis": axis, "detector": detector, "runs": runs, "encoder": encoder}
        if told := [f"--{name}" for name, value in settled.items() if value is not None]:
            raise ValueError(f"--from goes on with the bundle's own settings; leave out {', '.join(told)}.")
        refined = refine(
            data,
            start,
            out,
            labels=table,
            channel=channel,
            patients=patients,
            ids=_ids(ids),
            steps=steps or 200,
            folds=folds,
            seed=seed,
            pool=pool,
            say=typer.echo,
        )
        typer.echo(
            f"Dice {refined.before:.3f} before, {refined.after:.3f} after, in {refined.seconds / 60:.0f} minutes."
        )
        return
    trained = train_on_own(
        data,
        out,
        labels=table,
        channel=channel,
        patients=patients,
        ids=_ids(ids),
        method=method.split(",") if method else None,
        minutes=minutes,
        steps=steps,
        folds=folds,
        seed=seed,
        side=side,
        intensity=_intensity(intensity),
        mirrors=_mirrors(mirrors),
        neighbours=neighbours,
        axis=axis,
        detector=detector,
        runs=runs,
        encoder=encoder,
        suspects=suspects,
        pool=pool,
        say=typer.echo,
    )
    typer.echo(f"{trained.method} was trained in {trained.seconds / 60:.0f} minutes. Next:")
    typer.echo(f"  amsam segment IMAGES RESULTS --bundle {trained.root}")
    typer.echo(f"  amsam annotate IMAGES --bundle {trained.root}")


def _ids(text: str | None) -> list[str] | Path | None:
    """A file of ids, or the ids themselves."""
    if text is None:
        return None
    return Path(text) if Path(text).is_file() else [one.strip() for one in text.split(",") if one.strip()]


def _intensity(text: str | None) -> dict[str, str | float] | None:
    """hu_window:-160:240 as arguments of `Intensity`."""
    if text is None:
        return None
    mode, *limits = text.split(":")
    if len(limits) not in (0, 2):
        raise ValueError(f"intensity must be a mode, or like hu_window:-160:240, got {text!r}.")
    try:
        return {"mode": mode, **dict(zip(("low", "high"), map(float, limits), strict=False))}
    except ValueError as error:
        raise ValueError(f"intensity must be a mode, or like hu_window:-160:240, got {text!r}.") from error


def _mirrors(text: str | None) -> list[str] | None:
    """Which mirror images are as good."""
    known = {"none": [], "horizontal": ["horizontal"], "vertical": ["vertical"], "both": ["horizontal", "vertical"]}
    if text is None:
        return None
    if text not in known:
        raise ValueError(f"mirrors must be one of {', '.join(known)}, got {text!r}.")
    return known[text]
