"""Synapse (BTCV): abdominal CT with 13 organs, or 8 in the copies that TransUNet and SAMed made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amsam_monai.data.datasets.cases import (
    Case,
    Listing,
    by_key,
    files_in,
    folders_below,
    folders_in,
    pair_up,
)
from amsam_monai.data.datasets.checks import finish
from amsam_monai.data.datasets.sections import apply_split
from amsam_monai.data.files.labels import label_table
from amsam_monai.data.files.names import natural_key

IMAGE_FILE = re.compile(r"img(\d{4})\.nii(\.gz)?")
LABEL_FILE = re.compile(r"label(\d{4})\.nii(\.gz)?")
SLICE_FILE = re.compile(r"case(\d{4})_slice(\d+)\.npz")
VOLUME_FILE = re.compile(r"case(\d{4})\.npy\.h5")


def synapse_datalist(
    root: str | Path,
    *,
    labels: str | Mapping[int, str] | None = None,
    section: str | None = None,
    split: str | Path | None = "official",
    check: str = "full",
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Synapse as a MONAI datalist.

    Reads BTCV's RawData (img/imgNNNN.nii.gz and label/labelNNNN.nii.gz), and TransUNet's train_npz and test_vol_h5.

    Args:
        root: folder of the data set.
        labels: what the label ids mean. None is the raw table for BTCV's own files; arrays need it said, because two
            orders are about and a file does not tell: "synapse-transunet" (TransUNet's download, AI-SAM) or
            "synapse-samed" (SAMed's script).
        section: "training", "test"; None for all.
        split: "official" (18/12, as TransUNet), a JSON file, or None.
        check: "full" reads every file once, "names" trusts what they hold.
        progress: show a bar while reading.

    Raises:
        FileNotFoundError: no such folder, or nothing of Synapse in it.
        ValueError: arrays without `labels`.
        DatasetError: offending files, all of them.
    """
    listing = find_synapse(root, labels=labels, split=split)
    return finish(listing, section=section, check=check, progress=progress)


def find_synapse(
    root: str | Path, *, labels: str | Mapping[int, str] | None = None, split: str | Path | None = "official"
) -> Listing:
    """Synapse's cases as they lie on disk, in either layout."""
    root, listing = Path(root), Listing("synapse", label_table(labels or "synapse-raw"), [])
    for folder in folders_below(root, 3):
        siblings = folders_in(folder)
        if "img" in siblings and "label" in siblings:
            add_volumes(listing, folder)
        elif "img" in siblings:
            count = sum(bool(IMAGE_FILE.fullmatch(name)) for name in files_in(folder / "img"))
            listing.notes.append(f"{folder / 'img'} has no labels beside it; its {count} volumes were left out")
        add_arrays(listing, folder)
    if not listing.cases and not listing.problems:
        raise FileNotFoundError(
            f"{root}: no Synapse here; expected img/img0001.nii.gz with label/label0001.nii.gz (BTCV's RawData), "
            "or train_npz/case0005_slice000.npz and test_vol_h5/case0001.npy.h5 (TransUNet)."
        )
    if labels is None and any(case.image == case.label for case in listing.cases):
        raise ValueError(
            f"{root}: labels must be said for npz and h5 copies, whose files do not tell their order: "
            "'synapse-transunet' for TransUNet's download (also AI-SAM), 'synapse-samed' for SAMed's script."
        )
    listing.cases.sort(key=lambda case: natural_key(case.case_id))
    apply_split(listing, "synapse", split)
    return listing


def add_volumes(listing: Listing, folder: Path) -> None:
    """Pairs of img/ and label/."""
    sides = []
    for name, pattern in (("img", IMAGE_FILE), ("label", LABEL_FILE)):
        names = files_in(folder / name)
        fitting = [one for one in names if pattern.fullmatch(one)]
        listing.notes += [f"{folder / name / one} was passed over" for one in names if one not in set(fitting)]
        keyed = by_key(folder / name, fitting)
        sides.append({key.replace(name, "case", 1): files for key, files in keyed.items()})
    pairs, problems = pair_up(*sides)
    listing.problems += problems
    listing.cases += [Case(image, label, key, key) for key, image, label in pairs]


def add_arrays(listing: Listing, folder: Path) -> None:
    """Slices and volumes of TransUNet's copy; each file holds image and label."""
    for name in files_in(folder):
        if match := SLICE_FILE.fullmatch(name):
            number = int(match[2])
            case_id, extra = f"case{match[1]}_slice{number:03d}", {"form": "slice", "slice": number}
        elif match := VOLUME_FILE.fullmatch(name):
            case_id, extra = f"case{match[1]}", {"form": "volume"}
        else:
            continue
        listing.cases.append(Case(folder / name, folder / name, case_id, f"case{match[1]}", None, "table", extra))
