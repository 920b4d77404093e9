"""`amsam train-detector`: fit the box detector on the boxes of training masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amsam_monai.cli.errors import plain_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from torch import Tensor

    from amsam_monai.networks.detector.scores import Encode
    from amsam_monai.networks.detector.voting import VotingDetector

app = typer.Typer(add_completion=False)

LABEL_ENDINGS = ("_segmentation", "_mask", "_label", "_seg", "_gt")


@app.command()
@plain_errors
def train_detector(
    images: Annotated[Path, typer.Argument(help="Folder of images or volumes.")],
    labels: Annotated[Path, typer.Argument(help="Folder of their label maps, of the same names.")],
    out: Annotated[Path, typer.Argument(help="The detector's file, detector.pth.")],
    classes: Annotated[str, typer.Option(help="Names of classes 1, 2, ..., with commas between.")] = "foreground",
    ids: Annotated[str | None, typer.Option(help="Train on these images only, names with commas between.")] = None,
    val: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Folders of held-out images and labels to measure on.")
    ] = None,
    hold_out: Annotated[
        bool, typer.Option("--hold-out", help="With --ids: measure on all images that are not named.")
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches of random views. [default: 100]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate. [default: 0.001]")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of what it sees, a multiple of 32; of SAM's square with 'embedding'.")
    ] = None,
    architecture: Annotated[
        str, typer.Option(help="'yolo', or 'embedding', which reads SAM's own and needs no Ultralytics.")
    ] = "yolo",
    per: Annotated[str, typer.Option(help="One box per 'class', or per connected 'component'.")] = "class",
    start: Annotated[
        str, typer.Option(help="Pretrained weights: a name of `amsam weights list`, or a file.")
    ] = "yolo26n",
    extra: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Folders of phantoms' images and labels to mix into every batch.")
    ] = None,
    many: Annotated[
        bool, typer.Option("--many", help="For hundreds of images: all layers and batch statistics follow them.")
    ] = False,
    snap_to_dark_object: Annotated[
        bool, typer.Option("--snap-to-dark-object", help="Look for the edges of dark objects, such as skin lesions.")
    ] = False,
    intensity: Annotated[
        str | None, typer.Option(help="hu_window, percentile, bit_depth, min_max or none; by default from the format.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random views.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
) -> None:
    """Fit the box detector on the boxes of training masks, and measure it on images held out.

    Volumes are taken slice by slice. The file goes beside a bundle's model.pt and loads without running any code.
    """
    from rich.console import Console

    from amsam_monai.bundles.arguments import DETECTORS
    from amsam_monai.data.files.atomic import check_writable, room_for
    from amsam_monai.engines.detector_training import DetectorSettings, train_detector
    from amsam_monai.engines.embedding_detector_training import EmbeddingDetectorSettings, train_embedding_detector
    from amsam_monai.networks.detector.embedding import embedding_of
    from amsam_monai.networks.detector.files import save_detector
    from amsam_monai.networks.sam import build_sam
    from amsam_monai.networks.weights import store as weights

    if architecture not in DETECTORS:
        raise ValueError(f"--architecture must be one of {', '.join(DETECTORS)}, got {architecture!r}.")
    if architecture == "embedding" and many:
        raise ValueError("--many is of yolo, whose layers it lets train; leave it out with --architecture embedding.")

    names = [name.strip() for name in classes.split(",") if name.strip()]
    chosen = {name.strip() for name in ids.split(",")} if ids else None
    if hold_out and chosen is None:
        raise ValueError("--hold-out needs --ids, which say what to train on.")
    pairs = find_pairs(images, labels)
    check_writable(out.parent)
    if unknown := sorted((chosen or set()) - pairs.keys()):
        raise ValueError(f"ids must name images in {images}, got {', '.join(unknown)}.")
    training = [pair for name, pair in pairs.items() if chosen is None or name in chosen]
    given: dict[str, Any] = {"steps": steps, "learning_rate": learning_rate}
    given = {name: value for name, value in given.items() if value is not None}
    given |= {"per": per, "snap_to_dark_object": snap_to_dark_object, "seed": seed}
    console = Console(stderr=True)
    console.print(f"{len(training)} of {len(pairs)} cases train, classes {', '.join(names)}")
    samples, again = tee(read_samples(training, len(names), intensity))  # read one by one: there may be thousands
    encode: Encode | None = None
    shared: dict[str, Any] = {
        "extra": read_samples(list(find_pairs(*extra).values()), len(names), intensity) if extra else (),
        "class_names": names,
        "device": device,
    }
    data = ((image for image, _ in samples), (label for _, label in again), len(names))
    detector: VotingDetector
    if architecture == "embedding":
        sam = build_sam("vit_t", weights="mobile_sam", image_size=image_size or 512).to(device).eval()
        encode = embedding_of(sam)
        head = EmbeddingDetectorSettings(**given)
        with progress_bar(console, head.steps) as advance:
            detector = train_embedding_detector(*data, sam=sam, settings=head, progress=advance, **shared)
        sam.cpu()
    else:
        given |= {} if image_size is None else {"image_size": image_size}
        given |= {"frozen_layers": 0, "fit_statistics": True, "average": 0.99} if many else {}
        settings = DetectorSettings(**given)
        origin = weights.fetch(start) if start in weights.CATALOGUE else start
        with progress_bar(console, settings.steps) as advance:
            detector = train_detector(*data, start=origin, settings=settings, progress=advance, **shared)
    with room_for(out):
        save_detector(detector.cpu(), out)
    typer.echo(f"wrote {out}")
    measured: dict[str, Any] = {"intensity": intensity, "per": per, "encode": encode}
    if val is not None:
        report(detector, list(find_pairs(*val).values()), **measured)
    if hold_out:
        report(detector, [pair for name, pair in pairs.items() if name not in (chosen or ())], **measured)


def find_pairs(images: Path, labels: Path) -> dict[str, tuple[Path, Path]]:
    """Name -> (image, label) of two folders.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: an image without a label, or no image at all.
    """
    from amsam_monai.data.datasets.cases import by_key, pair_up
    from amsam_monai.data.files.images import format_of

    found = []
    for folder, endings in ((images, ()), (labels, LABEL_ENDINGS)):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder.")
        known = [path.name for path in sorted(folder.iterdir()) if format_of(path)]
        found.append(by_key(folder, known, endings))
    pairs, problems = pair_up(*found)
    if problems or not pairs:
        shown = "; ".join(str(problem) for problem in problems[:3]) or "no image there"
        raise ValueError(f"every image in {images} must have a label in {labels}: {shown}.")
    return {key: (image, label) for key, image, label in pairs}


def read_samples(
    pairs: list[tuple[Path, Path]], num_classes: int, intensity: str | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (3, H, W) in [0, 1] with labels (H, W); a volume gives its slices."""
    import torch

    from amsam_monai.data.datasets.reading import read_case
    from amsam_monai.data.slices import SliceView
    from amsam_monai.transforms.intensity import Intensity
    from amsam_monai.transforms.sam_input import three_channels

    for image, label in pairs:
        case = read_case(image, label, "binary" if num_classes == 1 else "table")
        pixels, picture = case.image.array, case.image.kind == "image"
        unit = Intensity(intensity or ("bit_depth" if picture else "percentile"))(pixels)
        classes = torch.from_numpy(case.label.array.astype("int64"))
        if picture:
            unit = unit.permute(2, 0, 1) if unit.ndim == 3 else unit[None]
            yield three_channels(unit), classes
            continue
        view = SliceView.of(pixels.shape, case.image.affine)
        for index in range(view.depth):
            one = view.take(unit, index, index + 1)  # (1, H, W)
            yield three_channels(one), view.take(classes, index, index + 1)[0]


def report(
    detector: VotingDetector,
    pairs: list[tuple[Path, Path]],
    intensity: str | None,
    per: str = "class",
    encode: Encode | None = None,
) -> None:
    """Print how well the boxes of held-out images fit, and which objects are found."""
    from amsam_monai.networks.detector.scores import score_detector, score_objects

    images, labels = zip(*read_samples(pairs, detector.num_classes, intensity), strict=True)
    score = score_detector(detector, images, labels, encode=encode)
    recall, strict = score.recall(0.5), score.recall(0.75)
    typer.echo(
        f"held out: {len(score.iou)} objects, recall {recall:.3f} at IoU 0.5, {strict:.3f} at 0.75, "
        f"mean IoU {score.mean_iou:.3f}; {score.false_boxes} boxes for {score.absent} absent classes"
    )
    for name, row in score_objects(detector, images, labels, per=per, encode=encode).groups().items():
        if row["objects"] or row["boxes"]:
            typer.echo(
                f"objects, {name}: {row['objects']}, recall {row['recall']:.3f}, mean IoU {row['iou']:.3f}; "
                f"{row['boxes']} boxes, precision {row['precision']:.3f}"
            )


@contextmanager
def progress_bar(console: Console, steps: int) -> Iterator[Callable[[int, int, float], None]]:
    """A bar that shows steps and loss."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    ]
    with Progress("detector", *columns, console=console) as progress:
        task = progress.add_task("detector", total=steps, loss=float("nan"))
        yield lambda step, _, loss: progress.update(task, completed=step, loss=loss)
