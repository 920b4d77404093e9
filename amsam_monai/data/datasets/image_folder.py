"""Sets of pictures with one mask each: glands, nuclei, polyps, people, and your own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amsam_monai.data.datasets.cases import (
    PATIENTS_UNKNOWN,
    Case,
    Listing,
    Problem,
    by_key,
    files_in,
    folders_below,
    folders_in,
    pair_up,
)
from amsam_monai.data.datasets.checks import finish
from amsam_monai.data.datasets.presets import PRESETS, Layout, Preset
from amsam_monai.data.datasets.sections import FROM_FOLDERS, apply_split
from amsam_monai.data.files.labels import is_binary, label_table
from amsam_monai.data.files.names import natural_key

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DEPTH = 2  # how far below the given folder a layout may begin: archives unpack into a folder of their own


def image_folder_datalist(
    root: str | Path, *, section: str | None = None, check: str = "full", progress: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """A folder of pictures and masks as a MONAI datalist, see `finish`; `options` as of `find_images`."""
    return finish(find_images(root, **options), section=section, check=check, progress=progress)


def find_images(
    root: str | Path,
    *,
    preset: str = "plain",
    labels: str | Mapping[int, str] | None = None,
    split: str | Path | None = FROM_FOLDERS,
) -> Listing:
    """A preset's cases as they lie on disk.

    Args:
        root: folder of the data set.
        preset: one of PRESETS: "plain", "glas", "monuseg", "kvasir", "polyp" (PraNet), "sunseg", "tiktok", "human".
        labels: table of a set with several classes, whose masks then hold these ids; {255: name} for masks of 0 and
            255; None is the preset's own.
        split: "folders" for what folders and names say, the name of a split in data/splits, a JSON file, or None.

    Raises:
        FileNotFoundError: no such folder, or nothing of the preset in it.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}.")
    rules = PRESETS[preset]
    binary = is_binary(labels)
    if isinstance(labels, Mapping) and binary:
        labels = {1: str(labels[255])}
    listing = Listing(preset, label_table(labels or rules.labels), [])
    for base, layout in find_layouts(Path(root), rules):
        add_layout(listing, base, layout, rule="binary" if binary else "table" if labels else layout.rule)
    for case in listing.cases:
        name_patient_and_section(case, rules)
    if not rules.patient:
        listing.notes.append(PATIENTS_UNKNOWN)
    listing.cases.sort(key=lambda case: natural_key(case.case_id))
    apply_split(listing, preset, split)
    return listing


def find_layouts(root: Path, preset: Preset) -> list[tuple[Path, Layout]]:
    """Layouts of a preset with the folder where each begins.

    Raises:
        ValueError: several folders hold such a data set.
        FileNotFoundError: none of them is there.
    """
    bases = folders_below(root, DEPTH)
    for layouts in (preset.layouts, preset.derived):
        found: dict[tuple[Path, Path], tuple[Path, Layout]] = {}
        first: Path | None = None
        for base in bases:
            for layout in layouts:
                folders = locate(base, layout)
                if folders is None or folders in found:
                    continue
                if first not in (None, base):
                    raise ValueError(f"{root}: data set must be one, found it in {first} and in {base}; choose one.")
                first, found[folders] = base, (base, layout)
        if found:
            return list(found.values())
    held = ", ".join((folders_in(root) + files_in(root))[:8]) or "nothing"
    raise FileNotFoundError(f"{root}: no data set here; expected {preset.expected}, found {held}.")


def locate(base: Path, layout: Layout) -> tuple[Path, Path] | None:
    """Folders of images and labels of a layout below `base`, or None."""
    images = next((base / name for name in layout.images if (base / name).is_dir()), None)
    labels = next((base / name for name in layout.labels if (base / name).is_dir()), None)
    if images is None or labels is None:
        return None
    if images == labels and not any(is_label(name, layout) for name in files_in(labels)):
        return None
    return images, labels


def is_label(name: str, layout: Layout) -> bool:
    """Whether a file of a folder that holds both is a label."""
    stem = Path(name).stem.casefold()
    return name.casefold().endswith(".xml") or any(stem.endswith(suffix) for suffix in layout.suffixes)


def add_layout(listing: Listing, base: Path, layout: Layout, rule: str) -> None:
    """Pairs of one layout, clip by clip where it is nested."""
    folders = locate(base, layout)
    if folders is None:
        return
    images, labels = folders
    if not layout.nested:
        add_pairs(listing, images, labels, layout, layout.subset, rule)
        return
    clips = {clip: (images / clip, labels / clip) for clip in {*folders_in(images), *folders_in(labels)}}
    for clip, (frames, masks) in sorted(clips.items(), key=lambda pair: natural_key(pair[0])):
        for folder, other in ((frames, masks), (masks, frames)):
            if not folder.is_dir():
                listing.problems.append(Problem(other, f"must have a partner, found no folder {folder}."))
        if frames.is_dir() and masks.is_dir():
            add_pairs(listing, frames, masks, layout, f"{layout.subset}/{clip}", rule)


def add_pairs(listing: Listing, images: Path, labels: Path, layout: Layout, prefix: str, rule: str) -> None:
    """Pairs of one folder of images and one of labels; other files are noted."""
    image_names, label_names = files_in(images), files_in(labels)
    if images == labels:
        image_names = [name for name in image_names if not is_label(name, layout)]
        label_names = [name for name in label_names if is_label(name, layout)]
    endings = (*PICTURES, ".xml")
    for folder, names, known in ((images, image_names, PICTURES), (labels, label_names, endings)):
        others = [name for name in names if not name.casefold().endswith(known)]
        if others:
            listing.notes.append(f"{folder}: {len(others)} other files were passed over, such as {others[0]}")
    pairs, problems = pair_up(
        by_key(images, (name for name in image_names if name.casefold().endswith(PICTURES))),
        by_key(labels, (name for name in label_names if name.casefold().endswith(endings)), layout.suffixes),
    )
    listing.problems += problems
    extra: dict[str, Any] = {"subset": layout.subset} if layout.subset else {}
    for key, image, label in pairs:
        case_id = f"{prefix}/{key}" if prefix else key
        case = Case(image, label, case_id, case_id, layout.section, rule, dict(extra), layout.shared_patients)
        listing.cases.append(case)
    if not pairs and not problems:
        listing.problems.append(Problem(images, f"must hold pictures ({' '.join(PICTURES)}), got none."))


def name_patient_and_section(case: Case, preset: Preset) -> None:
    """Patient and section as far as the case id tells them."""
    if preset.patient and (match := re.search(preset.patient, case.case_id)):
        case.patient_id = match[1]
    for pattern, section in preset.sections.items():
        if re.fullmatch(pattern, case.case_id):
            case.section = section
