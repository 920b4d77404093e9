"""`amsam confusion`: what kinds of prompts tell SAM, and what it makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amsam_monai.cli.errors import plain_errors

if TYPE_CHECKING:
    from amsam_monai.networks.sam import SAM

app = typer.Typer(add_completion=False)

BACKBONES = {"mobile_sam": "vit_t", "lite_medsam": "lite_medsam", "medsam_vit_b": "vit_b"}


@app.command()
@plain_errors
def confusion(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Images or volumes: a file or a folder.")],
    truth: Annotated[Path, typer.Argument(metavar="LABELS", help="Their labels; may lie in the same folder.")],
    labels: Annotated[str, typer.Option(help="Classes, such as 1=RV,2=Myo,3=LV.")],
    out: Annotated[Path, typer.Option(help="Folder for confusion.png and confusion.json.")],
    weights: Annotated[
        str, typer.Option(help="SAM's weights: a name of `amsam weights list`, or a file.")
    ] = "mobile_sam",
    backbone: Annotated[str | None, typer.Option(help="vit_b, vit_l, vit_h, vit_t ... [default: by the name]")] = None,
    image_size: Annotated[int, typer.Option(min=16, help="Side of SAM's input.")] = 1024,
    points: Annotated[str, typer.Option(help="Kinds of point prompts, by number of points.")] = "1,4",
    box: Annotated[bool, typer.Option("--box/--no-box", help="Box prompts.")] = True,
    bundle: Annotated[str | None, typer.Option(help="Also the prompts that this bundle finds by itself.")] = None,
    slices: Annotated[int | None, typer.Option(min=1, help="Slices per volume at most [default: all].")] = None,
    intensity: Annotated[
        str | None,
        typer.Option(help="hu_window, percentile, bit_depth, min_max or none [default: percentile, bit_depth]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random points.")] = 0,
) -> None:
    """Prompt and output confusion matrices (AI-SAM, section 3).

    Rows are prompts, columns classes. Prompts come from the ground truth: random points, tight boxes. The prompt matrix
    compares SAM's features, the output matrix its masks; the closer both are to the identity, the better the prompts.
    """
    from amsam_monai.data.files.atomic import check_writable
    from amsam_monai.evaluation.pairs import parse_labels
    from amsam_monai.evaluation.prompting.confusion import confusion_matrices
    from amsam_monai.evaluation.prompting.confusion_plot import confusion_json, plot_confusion, write_confusion
    from amsam_monai.evaluation.prompting.confusion_samples import image_pairs, labelled_slices
    from amsam_monai.transforms.intensity import Intensity

    check_writable(out)
    table = parse_labels(labels)
    names = ["None", *table.values()]
    prompters = build_prompters(points, box, bundle, seed)
    pairs = image_pairs(images, truth)
    sam = build(weights, backbone, image_size)
    scale = Intensity(intensity) if intensity else None
    samples = labelled_slices(pairs, table, intensity=scale, per_case=slices)
    with progress() as seen:
        matrices = confusion_matrices(sam, seen(samples), len(table), prompters)
    title = f"{sam_name(weights)}, {image_size} px, {next(iter(matrices.values())).images} images"
    content = {"weights": sam_name(weights), "image_size": image_size, "seed": seed, **confusion_json(matrices, names)}
    plot_confusion(matrices, names, out / "confusion.png", title=title)
    write_confusion(content, out / "confusion.json")
    show(content)
    for name in ("confusion.png", "confusion.json"):
        typer.echo(out / name)


def build_prompters(points: str, box: bool, bundle: str | None, seed: int) -> dict[str, Any]:
    """The kinds of prompts asked for, by name."""
    from amsam_monai.evaluation.prompting.prompters import BoxPrompter, PointPrompter, SystemPrompter

    counts = [part.strip() for part in points.split(",") if part.strip()]
    if not all(part.isdigit() and int(part) > 0 for part in counts):
        raise ValueError(f"points must be numbers such as 1,4, got {points!r}.")
    prompters: dict[str, Any] = {
        f"{part} point{'s' if int(part) > 1 else ''}": PointPrompter(int(part), seed=seed) for part in counts
    }
    if box:
        prompters["box"] = BoxPrompter()
    if bundle is not None:
        from amsam_monai.bundles.load import load_bundle

        loaded = load_bundle(bundle, device="cpu")
        prompters[loaded.name] = SystemPrompter(loaded.network)
    return prompters


def build(weights: str, backbone: str | None, image_size: int) -> SAM:
    """The SAM of these weights."""
    from amsam_monai.networks.sam import build_sam

    chosen = backbone or BACKBONES.get(weights) or weights.removeprefix("sam_")
    return build_sam(chosen, image_size=image_size, weights=weights)


def sam_name(weights: str) -> str:
    """Name of the weights, without folders."""
    return Path(weights).name


def progress() -> Any:
    """A counter of images on standard error."""
    from collections.abc import Iterable, Iterator
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    @contextmanager
    def counting() -> Iterator[Any]:
        with Progress(TextColumn("images"), MofNCompleteColumn(), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("images", total=None)

            def seen(items: Iterable[Any]) -> Iterator[Any]:
                for item in items:
                    yield item
                    bar.advance(task)

            yield seen

    return counting()


def show(content: dict[str, Any]) -> None:
    """Print both matrices of every kind of prompt, and how they go together."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=max(Console().width, 100))
    names = content["labels"]
    for kind in ("ocm", "pcm"):
        for prompt, matrix in content[kind].items():
            table = Table(f"prompt of \\ class ({prompt})", *names, title=kind.upper())
            for name, row in zip(names, matrix, strict=True):
                table.add_row(name, *("-" if value is None else f"{value:.2f}" for value in row))
            console.print(table)
    parts = [
        f"{kind} {'-' if value is None else format(value, '.2f')}" for kind, value in content["correlation"].items()
    ]
    console.print("correlation of both (Proposition 1): " + ", ".join(parts), markup=False)
