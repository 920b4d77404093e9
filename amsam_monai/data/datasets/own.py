"""Data of your own, in the layouts that people have: found, paired and named, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from amsam_monai.data.datasets.acdc import find_acdc
from amsam_monai.data.datasets.annotations import find_annotations
from amsam_monai.data.datasets.cases import Listing, files_in, folders_in
from amsam_monai.data.datasets.checks import finish
from amsam_monai.data.datasets.decathlon import find_decathlon
from amsam_monai.data.datasets.label_names import name_labels
from amsam_monai.data.datasets.pair_lists import find_pair_list
from amsam_monai.data.datasets.paired_folders import find_paired_folders
from amsam_monai.data.datasets.synapse import find_synapse
from amsam_monai.data.files.names import natural_key

OWN = "own"
EXPECTED = """one of
  images/ and labels/ (or masks/), files of the same name, of any format that is read here
  imagesTr/ and labelsTr/ with dataset.json, as the Decathlon and nnU-Net have them
  a .json or .csv file that lists pairs: image,label
  pictures with LabelMe's .json files beside them, or a COCO .json file
  ACDC's or BTCV's own layout"""

Find = Callable[[Path, int | None], Listing | None]


def own_datalist(
    root: str | Path, *, check: str = "full", progress: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """Data of your own as a MONAI datalist, see `finish`; `options` as of `find_own`."""
    return finish(find_own(root, **options), section=None, check=check, progress=progress)


def find_own(
    root: str | Path,
    *,
    labels: Mapping[int, str] | None = None,
    channel: int | None = None,
    patients: str | None = None,
) -> Listing:
    """Cases of your own as they lie on disk.

    Args:
        root: a folder, or a file that lists pairs.
        labels: value in the label files -> name of the class; what it does not name is background. None takes the
            names that the data tell, else the values themselves.
        channel: which channel of several an image is; None where there is one.
        patients: a pattern of the case ids or a table, see `patients_of`.

    Raises:
        FileNotFoundError: no such folder, or nothing in it that is known.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such file or folder.")
    listing = next((found for find in FINDERS if (found := find(root, channel)) is not None), None)
    if listing is None:
        raise FileNotFoundError(f"{root}: no data set here; found {_held(root)}, expected {EXPECTED}")
    if not listing.problems:
        name_labels(listing, labels)
    if patients is not None:
        listing.take_patients(patients)
    elif all(case.patient_id == case.case_id for case in listing.cases):
        listing.notes.append(
            "nothing says which cases are of one patient; each counts as a patient of its own. "
            "Give a pattern of the names with --patients where that is wrong."
        )
    listing.cases.sort(key=lambda case: natural_key(case.case_id))
    return listing


def _known_layout(root: Path, channel: int | None) -> Listing | None:
    """ACDC's and BTCV's own layouts."""
    if not root.is_dir():
        return None
    finders: dict[str, Callable[[Path], Listing]] = {
        "ACDC": lambda folder: find_acdc(folder, split=None),
        "BTCV": lambda folder: find_synapse(folder, split=None),
    }
    for name, find in finders.items():
        try:
            listing = find(root)
        except (FileNotFoundError, ValueError):
            continue
        listing.notes.insert(0, f"read as {name}'s own layout")
        return listing
    return None


def _held(root: Path) -> str:
    if root.is_file():
        return f"a file of {root.stat().st_size} bytes"
    return ", ".join([f"{name}/" for name in folders_in(root)[:6]] + files_in(root)[:6]) or "an empty folder"


FINDERS: tuple[Find, ...] = (
    find_pair_list,
    find_decathlon,
    find_annotations,
    _known_layout,
    find_paired_folders,
)
