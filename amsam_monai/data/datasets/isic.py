"""ISIC: dermoscopy with lesion outlines, the challenges of 2016, 2017 and 2018."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amsam_monai.data.datasets.cases import PATIENTS_UNKNOWN, Listing, folders_below
from amsam_monai.data.datasets.checks import finish
from amsam_monai.data.datasets.image_folder import add_layout, find_layouts
from amsam_monai.data.datasets.presets import PLAIN, PLAIN_SECTIONS, Layout, Preset
from amsam_monai.data.datasets.sections import FROM_FOLDERS, apply_split
from amsam_monai.data.files.labels import label_table
from amsam_monai.data.files.names import natural_key

SUFFIXES = ("_segmentation",)
# edition -> (folder of images, folder of masks) with {} for Training, Validation, Test
EDITIONS: Mapping[str, tuple[str, str]] = {
    "2018": ("ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth"),
    "2017": ("ISIC-2017_{}_Data", "ISIC-2017_{}_Part1_GroundTruth"),
    "2016": ("ISBI2016_ISIC_Part1_{}_Data", "ISBI2016_ISIC_Part1_{}_GroundTruth"),
}
PARTS = {"Training": "training", "Validation": "validation", "Test_v2": "test", "Test": "test"}
SIMPLE = Preset(
    "lesion",
    (),
    tuple(Layout(one.images, one.labels, one.section, suffixes=SUFFIXES) for one in (*PLAIN_SECTIONS, *PLAIN)),
    expected="ISIC2018_Task1-2_Training_Input with ISIC2018_Task1_Training_GroundTruth, or images/ and labels/",
)


def isic_datalist(
    root: str | Path,
    *,
    edition: str | None = None,
    section: str | None = None,
    split: str | Path | None = FROM_FOLDERS,
    check: str = "full",
    progress: bool = False,
) -> list[dict[str, Any]]:
    """ISIC as a MONAI datalist. The challenges do not say whose lesion it is: a case counts as a patient.

    Reads the challenges' folders, and simple images/ and labels/ folders of ISIC_*.jpg and ISIC_*_segmentation.png.

    Args:
        root: folder of the data set.
        edition: "2016", "2017" or "2018", where several lie side by side.
        section: "training", "validation", "test"; None for all.
        split: "folders" (the official one), a JSON file, or None.
        check: "full" reads every file once, "names" trusts what they hold.
        progress: show a bar while reading.

    Raises:
        FileNotFoundError: no such folder, or nothing of ISIC in it.
        ValueError: several editions and none chosen: they share images.
        DatasetError: offending files, all of them.
    """
    listing = find_isic(root, edition=edition, split=split)
    return finish(listing, section=section, check=check, progress=progress)


def find_isic(root: str | Path, *, edition: str | None = None, split: str | Path | None = FROM_FOLDERS) -> Listing:
    """ISIC's cases as they lie on disk."""
    listing = Listing("isic", label_table("lesion"), [])
    found, listing.notes = challenge_folders(Path(root), edition)
    for base, layout in found or find_layouts(Path(root), SIMPLE):
        add_layout(listing, base, layout, rule="binary")
    listing.notes.append(PATIENTS_UNKNOWN)
    listing.cases.sort(key=lambda case: natural_key(case.case_id))
    apply_split(listing, "isic", split)
    return listing


def challenge_folders(root: Path, edition: str | None) -> tuple[list[tuple[Path, Layout]], list[str]]:
    """The parts of a challenge that are below `root`, and notes on folders without a partner.

    Raises:
        ValueError: unknown edition, or several and none chosen.
    """
    if edition is not None and edition not in EDITIONS:
        raise ValueError(f"edition must be one of {', '.join(EDITIONS)}, got {edition!r}.")
    by_name: dict[str, Path] = {}
    for folder in folders_below(root, 3):
        by_name[folder.name] = folder  # a folder in one of the same name, as some archives unpack, replaces it
    alone: list[str] = []
    layouts: dict[str, list[tuple[Path, Layout]]] = {}
    for year, (images, masks) in EDITIONS.items():
        for part, section in PARTS.items():
            pair = by_name.get(images.format(part)), by_name.get(masks.format(part))
            if (pair[0] or pair[1]) and not (pair[0] and pair[1]):
                alone.append(f"{pair[0] or pair[1]} has no partner beside it and was left out")
            elif pair[0] and pair[1] and edition in (year, None):
                layout = Layout((str(pair[0].absolute()),), (str(pair[1].absolute()),), section, suffixes=SUFFIXES)
                layouts.setdefault(year, []).append((root, layout))
    if len(layouts) > 1:
        raise ValueError(f"{root}: edition must be chosen where several are, got {', '.join(layouts)}.")
    return next(iter(layouts.values()), []), alone
