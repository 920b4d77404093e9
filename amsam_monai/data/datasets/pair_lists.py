"""Lists of images and their labels: a JSON or CSV file of pairs."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amsam_monai.data.datasets.cases import Case, Listing, Problem
from amsam_monai.data.datasets.decathlon import label_names
from amsam_monai.data.files.images import stem_of
from amsam_monai.data.files.names import same_name

TABLES = (".csv", ".tsv")
PATIENT_COLUMNS = ("patient_id", "patient", "subject", "subject_id")
ID_COLUMNS = ("case_id", "case", "id", "name")


def find_pair_list(root: Path, channel: int | None = None) -> Listing | None:
    """Cases of a list of pairs; None if `root` is not one.

    A CSV has a line of headings with image and label, and may have case_id and patient. A JSON file is a list of
    objects with the same names, or an object that holds the list as "training" and names of labels as "labels".
    Paths are relative to the list's folder.
    """
    if not root.is_file():
        return None
    if root.suffix.casefold() in TABLES:
        return listing_of(root, rows_of_table(root), {})
    if root.suffix.casefold() != ".json":
        return None
    try:
        content = json.loads(root.read_text(encoding="utf-8"))
    except ValueError as error:
        return Listing("own", {}, [], [Problem(root, f"must be JSON, got another content ({error}).")])
    rows = content.get("training", content.get("pairs")) if isinstance(content, Mapping) else content
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        return None
    if not any("image" in row for row in rows):
        return None
    return listing_of(root, rows, label_names(content.get("labels", {})) if isinstance(content, Mapping) else {})


def rows_of_table(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV or TSV file by their headings."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        delimiter = "\t" if path.suffix.casefold() == ".tsv" else None
        sample = file.read(4096)
        file.seek(0)
        if delimiter is None:
            heading = sample.splitlines()[0] if sample.strip() else ""
            delimiter = ";" if heading.count(";") > heading.count(",") else ","
        return [dict(row) for row in csv.DictReader(file, delimiter=delimiter)]


def listing_of(path: Path, rows: Sequence[Mapping[str, Any]], labels: dict[int, str]) -> Listing:
    """Cases of the rows; a row without image or label, or with a file that is not there, is a problem."""
    listing = Listing("own", labels, [])
    for number, row in enumerate(rows, start=1):
        entries = {str(key).strip().casefold(): value for key, value in row.items() if key is not None}
        files = [str(entries.get(name) or "").strip() for name in ("image", "label")]
        if not all(files):
            listing.problems.append(Problem(path, f"entry {number} must name image and label, got {dict(row)}."))
            continue
        image, label = (path.parent / name for name in files)
        missing = [file for file in (image, label) if not file.exists()]
        listing.problems += [Problem(file, f"no such file or folder; {path.name} names it.") for file in missing]
        if not missing:
            case_id = first_of(entries, ID_COLUMNS) or same_name(stem_of(image))
            patient = first_of(entries, PATIENT_COLUMNS) or case_id
            listing.cases.append(Case(image, label, case_id, patient, None, "named"))
    if not rows:
        listing.problems.append(Problem(path, "must list pairs of image and label, got none."))
    return listing


def first_of(entries: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of the named entries that says something."""
    return next((str(entries[name]).strip() for name in names if str(entries.get(name) or "").strip()), "")
