"""images/ beside labels/ or masks/: files of the same name, of any format that is read here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from amsam_monai.data.datasets.cases import Case, Listing, Problem, files_in, folders_below, folders_in, pair_up
from amsam_monai.data.datasets.presets import IMAGES, LABELS
from amsam_monai.data.files.dicom.folders import is_dicom_folder
from amsam_monai.data.files.images import format_of, list_inputs, stem_of
from amsam_monai.data.files.inputs import outside
from amsam_monai.data.files.names import same_name

DEPTH = 2
WITH_IMAGES, WITH_LABELS = (*IMAGES, "imagesTr"), (*LABELS, "labelsTr", "labelsTs")  # of any data set that is known
IMAGE_ENDINGS = ("_image", "_img", "_0000")
LABEL_ENDINGS = ("_segmentation", "_seg", ".seg", "-seg", "_mask", "_masks", "_label", "_labels", "_gt", "_anno")


def find_paired_folders(root: Path, channel: int | None = None) -> Listing | None:
    """Cases of the folder that holds images and labels; None where there is none."""
    if not root.is_dir():
        return None
    found = [
        (base / image, base / label)
        for base in folders_below(root, DEPTH)
        if (image := first_there(base, IMAGES)) and (label := first_there(base, LABELS))
    ]
    if not found:
        return None
    listing = Listing("own", {}, [])
    if len(found) > 1:
        places = ", ".join(str(image.parent) for image, _ in found[:4])
        listing.problems.append(Problem(root, f"data set must be one, found {len(found)}: {places}; choose one."))
        return listing
    images, labels = found[0]
    pairs, problems = pair_up(keyed(images, IMAGE_ENDINGS, listing), keyed(labels, LABEL_ENDINGS, listing))
    listing.problems += problems
    listing.cases = [Case(image, label, key, key, None, "named") for key, image, label in pairs]
    if not pairs and not problems:
        listing.problems.append(Problem(images, "must hold images, got none that is read here."))
    return listing


def label_folders(root: Path) -> list[Path]:
    """Folders of labels that lie beside images in `root` or a little below it: what they hold is not to be segmented.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return [
        base / name
        for base in folders_below(root, DEPTH)
        if first_there(base, WITH_IMAGES)
        for name in folders_in(base)
        if name in WITH_LABELS
    ]


def list_images(root: Path) -> list[Path]:
    """What `list_inputs` finds, without the labels of `label_folders`."""
    return outside(list_inputs(root), label_folders(root))


def first_there(base: Path, names: Sequence[str]) -> str | None:
    """The first of the folders that exists."""
    return next((name for name in names if (base / name).is_dir()), None)


def keyed(folder: Path, endings: Sequence[str], listing: Listing) -> dict[str, list[Path]]:
    """Images or labels of a folder by name, usual endings cut off; DICOM series are folders. Other files are noted."""
    found: dict[str, list[Path]] = defaultdict(list)
    others = []
    for name in files_in(folder):
        if format_of(name) is None:
            others.append(name)
        else:
            found[_cut(same_name(stem_of(name)), endings)].append(folder / name)
    for name in folders_in(folder):
        if is_dicom_folder(folder / name):
            found[_cut(same_name(name), endings)].append(folder / name)
        else:
            others.append(f"{name}/")
    if others:
        listing.notes.append(f"{folder}: {len(others)} other entries were passed over, such as {others[0]}")
    return found


def _cut(stem: str, endings: Sequence[str]) -> str:
    ending = next((one for one in endings if stem.casefold().endswith(one) and len(stem) > len(one)), "")
    return stem[: len(stem) - len(ending)]
