"""`amsam segment`: a file or a folder of images and volumes through a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amsam_monai.cli.errors import plain_errors
from amsam_monai.cli.scheduler import Scheduler
from amsam_monai.cli.segment_cluster import on_cluster
from amsam_monai.cli.segment_frames import segment_frames
from amsam_monai.cli.segment_table import show

if TYPE_CHECKING:
    from amsam_monai.segment.batch import Extras, Job
    from amsam_monai.segment.batch_report import Record
    from amsam_monai.segment.segmenter import Segmenter

app = typer.Typer(add_completion=False)

COCO = "instances.coco.json"


@app.command()
@plain_errors
def segment(
    source: Annotated[Path, typer.Argument(metavar="IN", help="File, DICOM folder, or folder of any of them.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File (its ending chooses the format) or folder.")],
    bundle: Annotated[str, typer.Option(help="Folder of a bundle, or its name in ./bundles or $AMSAM_BUNDLES.")],
    labels: Annotated[bool, typer.Option("--labels", help="Also write one mask per class, named after it.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write class probabilities.")] = False,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write a picture of the mask on the image.")] = False,
    quality: Annotated[
        bool | None,
        typer.Option("--quality/--no-quality", help="Tell how good masks are expected to be. [where calibrated]"),
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="Also write a map with a number for each object, and a table of them.")
    ] = False,
    coco: Annotated[
        bool, typer.Option("--coco", help="With --instances: also write the objects of all pictures in COCO's format.")
    ] = False,
    names: Annotated[
        bool, typer.Option("--names/--no-names", help="Name the inputs in the report, or number them.")
    ] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Pass over inputs whose results are there.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; by default the bundle's.")] = None,
    precision: Annotated[
        str, typer.Option(help="float32; bfloat16, faster and a little less exact; or auto, where the device has it.")
    ] = "float32",
    compile_: Annotated[
        str | None,
        typer.Option("--compile", help="default or max-autotune: compile the encoder first; pays for many inputs."),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit weights in the encoder; on a processor, a little less exact.")
    ] = False,
    axis: Annotated[str | None, typer.Option(help="Slices: thickest, axial, coronal, sagittal, 0, 1 or 2.")] = None,
    intensity: Annotated[
        str | None, typer.Option(help="Instead of the bundle's: hu_window, percentile, bit_depth, min_max or none.")
    ] = None,
    per_slice: Annotated[bool, typer.Option("--per-slice", help="Scale each slice by its own statistics.")] = False,
    flips: Annotated[
        bool | None,
        typer.Option("--flips/--no-flips", help="Average over both flips (four times the work), or none. [bundle's]"),
    ] = None,
    largest_component: Annotated[
        bool, typer.Option("--largest-component", help="Keep the largest connected part of each class.")
    ] = False,
    label_values: Annotated[
        str | None,
        typer.Option(help="index: maps hold 1, 2, ...; own: values of the user's label files. [bundle's]"),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Slices per call of the network.")] = None,
    series: Annotated[str | None, typer.Option(help="DICOM: UID of the series, where a folder holds several.")] = None,
    phase: Annotated[
        int | None, typer.Option(min=1, help="DICOM: which of several images at each place, or frame of a film.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="How large an image may be; pictures 178956970, volumes 2**30 by default.")
    ] = None,
    light: Annotated[bool, typer.Option("--light", help="AutoSAM without SAM's decoder: h(g(I)).")] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="IN holds video frames, a folder a clip; write mask.mp4, overlay.mp4 too.")
    ] = False,
    scheduler: Scheduler = None,
    memory: Annotated[float, typer.Option(min=0, max=0.99, help="With --frames: share of the past in a frame.")] = 0.0,
    rate: Annotated[float, typer.Option(min=1, help="With --frames: frames per second of the films.")] = 25.0,
) -> None:
    """Segment images and volumes automatically.

    NIfTI, NRRD, MetaImage, DICOM series, PNG, JPG, TIF, npz and h5 go in. Volumes come out as NIfTI in their own
    geometry, a DICOM series as DICOM-SEG, images as PNG whose pixels are class indices. OUT/segment_report.json says
    what became of every input, the doubtful first where the model is calibrated; the exit code is 1 where one failed.
    A folder of labels beside a folder of images (images/ and labels/, as `amsam train` takes them) is left out.
    """
    from amsam_monai.data.datasets.paired_folders import label_folders
    from amsam_monai.data.files.atomic import check_writable
    from amsam_monai.segment.batch import BatchSegmenter, Extras, plan, refuse_clashes
    from amsam_monai.segment.batch_report import REPORT, doubtful_first, without_names, write_report

    if frames and scheduler:
        raise ValueError("--frames must come without --scheduler: a clip's frames follow one another.")

    if coco and not instances:
        raise ValueError("--coco must come with --instances.")
    jobs = [] if frames else plan(source, target)
    if not frames and source.is_dir() and (folders := label_folders(source)):
        typer.echo(f"left out, since it holds labels of images: {', '.join(map(str, folders))}", err=True)
    check_writable(target.parent if jobs and jobs[0].output else target)
    asked: dict[str, Any] = {
        "bundle": bundle,
        "device": device,
        "precision": precision,
        "compile": compile_,
        "int8": int8,
        "light": light,
        "intensity": {"mode": intensity, "per": "slice" if per_slice else None},
        "slices": {
            "axis": int(axis) if axis is not None and axis.isdigit() else axis,
            "flips": {None: None, True: ("horizontal", "vertical"), False: ()}[flips],
            "batch_size": batch_size,
        },
        "largest_component": largest_component,
        "label_values": label_values,
    }
    own = {} if scheduler is None else {"device": "cpu", "compile": None, "int8": False}  # the workers have theirs
    segmenter = build(**{**asked, **own})
    if frames:
        if labels or probabilities or overlay or resume or quality or instances:
            raise ValueError(
                "--frames must come without --labels, --probabilities, --overlay, --quality, --instances and --resume."
            )
        segment_frames(segmenter, source, target, memory=memory, rate=rate)
        return
    extras = Extras(labels, probabilities, overlay, instances)
    refuse_clashes(jobs, extras, list(segmenter.labels.values()))
    records: list[Record] = []
    report = (target.parent if jobs[0].output else target) / REPORT
    how: dict[str, Any] = {
        "resume": resume,
        "quality": quality,
        "reading": given({"series": series, "phase": phase, "max_pixels": max_pixels}),
    }
    try:
        with progress_bar(len(jobs)) as (advance, tell):

            def note(record: Record) -> None:
                records.append(record)
                advance()

            if scheduler is None:
                BatchSegmenter(segmenter, extras=extras, progress=tell, **how).run(jobs, note)
            else:
                work = {"build": asked, "extras": asdict(extras), "how": how}
                for record in on_cluster(scheduler, jobs, work, report.parent):
                    note(record)
    finally:  # an interrupted run tells what it did, too
        places = {str(job.source): place for place, job in enumerate(jobs)}
        records.sort(key=lambda record: places[record.input])  # workers end in any order
        told = records if names else without_names(records, [str(job.source) for job in jobs])
        try:
            write_report(told, report, bundle=bundle, labels=segmenter.classes.written_names)
        except OSError:
            show(doubtful_first(records), report)
            raise
    show(doubtful_first(records), report)
    if coco:
        typer.echo(write_objects(jobs, extras, records, segmenter, report.parent / COCO))
    if any(record.status == "failed" for record in records):
        raise typer.Exit(1)


def write_objects(
    jobs: Sequence[Job], extras: Extras, records: Sequence[Record], segmenter: Segmenter, path: Path
) -> Path:
    """The objects of all pictures that were segmented, now or before, in COCO's format."""
    from amsam_monai.segment.instance_files import write_coco

    names = list(segmenter.labels.values())
    done = [job for job, record in zip(jobs, records, strict=True) if record.status != "failed"]
    written = {job.source: extras.paths(job, False, names)[-2:] for job in done}
    pictures = [(source, *paths) for source, paths in written.items() if paths[0].is_file()]
    return write_coco([(source, one, other) for source, one, other in pictures], segmenter.labels, path)


def build(
    bundle: str,
    device: str | None,
    *,
    precision: str,
    compile: str | None,
    int8: bool,
    light: bool,
    intensity: dict[str, Any],
    slices: dict[str, Any],
    largest_component: bool,
    label_values: str | None,
) -> Segmenter:
    """The bundle's segmenter; what is not None replaces the bundle's own settings."""
    from amsam_monai.bundles.load import load_bundle

    changes = given({"arguments": {"light": True} if light else None, "label_values": label_values})
    loaded = load_bundle(bundle, device=device, settings=changes)
    own = loaded.intensity if intensity["mode"] in (None, loaded.intensity.get("mode")) else {}
    return loaded.segmenter(
        intensity={**own, **given(intensity)},
        slices={**loaded.slices, **given(slices)},
        largest_component=largest_component or loaded.largest_component,
        precision=precision,
        compile=compile,
        int8=int8,
    )


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def progress_bar(total: int) -> Iterator[tuple[Any, Any]]:
    """Bars for inputs and for the slices of the present one: (call after each input, call after each batch)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        files = progress.add_task("inputs", total=total)
        slices = progress.add_task("slices", visible=False)

        def tell(job: Job, done: int, depth: int) -> None:
            progress.update(slices, description=job.source.name, completed=done, total=depth, visible=done < depth)

        def advance() -> None:
            progress.advance(files)

        yield advance, tell
