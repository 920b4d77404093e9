"""Which unlabelled image to label next: the one whose masks are expected to be worst."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.datasets.paired_folders import list_images
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import read_image
from amsam_monai.evaluation.tables import markdown_table
from amsam_monai.segment.batch_report import told
from amsam_monai.segment.doubt import Quality, worst

FILE = "label_next.md"


@dataclass(frozen=True)
class Candidate:
    """An unlabelled image.

    Args:
        image: its file.
        quality: what is expected of its masks, see `quality_of`; empty where it was not segmented.
        notes: warnings, or why it was not segmented.
    """

    image: Path
    quality: Quality
    notes: list[str]

    @property
    def worst(self) -> float:
        """Dice to expect of its worst class; infinite where none is told."""
        value = worst(self.quality)
        return math.inf if value is None else value


def label_next(
    bundle: str | Path, pool: str | Path, *, known: Iterable[str | Path] = (), say: Callable[[str], None] | None = None
) -> list[Candidate]:
    """Segment the images of a folder, and write into the bundle's report which to label next, the worst first.

    Args:
        bundle: its folder.
        pool: folder of images in any format that is read; those that cannot be read come last, and folders of labels
            beside images are passed over.
        known: images that are labelled, which are passed over.
        say: is told of each image.

    Raises:
        FileNotFoundError: no such folder, or no image in it that is not known.
    """
    labelled = {Path(path).resolve() for path in known}
    images = [path for path in list_images(Path(pool)) if path.resolve() not in labelled]
    if not images:
        raise FileNotFoundError(f"{pool} must hold images that are not labelled yet, found none.")
    loaded = load_bundle(bundle)
    segment, found = loaded.segmenter(), []
    for number, path in enumerate(images, 1):
        try:
            result = segment(read_image(path), quality=True)
            found.append(Candidate(path, result.quality, result.warnings))
        except (ValueError, OSError) as error:
            found.append(Candidate(path, {}, [str(error)]))
        if say is not None:
            say(f"{number} of {len(images)} unlabelled images: {path.name}")
    found.sort(key=lambda one: one.worst)
    _write(Path(loaded.root) / "report" / FILE, found, list(loaded.labels.values()))
    return found


def _write(path: Path, found: list[Candidate], names: list[str]) -> None:
    rows = [
        [
            one.image.name,
            *(told(one.quality[name]["case"]) if one.quality else "" for name in names),
            "; ".join(one.notes),
        ]
        for one in found
    ]
    table = markdown_table((["image", *(f"expected Dice of {name}" for name in names), "notes"], rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        Path(partial).write_text(f"# Label next\n\nThe worst masks come first.\n\n{table}\n", encoding="utf-8")
