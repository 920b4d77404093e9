"""Cases put into the sections of a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from amsam_monai.data.datasets.cases import SECTIONS, Case, Listing, Problem
from amsam_monai.data.splits import read_sections, split_entry, split_sections

FROM_FOLDERS = "folders"


def apply_split(listing: Listing, dataset: str, split: str | Path | None) -> None:
    """Set every case's section, in place, by patient id or case id.

    A folder that says another section than the split is a problem, never overruled in silence.

    Args:
        listing: cases whose `section` is what their folder says.
        dataset: name of a file in data/splits.
        split: name of a split in that file; a JSON file of your own; "folders" for what the folders say; None for
            no sections.

    Raises:
        ValueError: no such split.
    """
    if split is None:
        for case in listing.cases:
            case.section = None
        return
    if split == FROM_FOLDERS:
        return
    if str(split).endswith(".json"):
        sections = read_sections(split)
    elif "folders" in split_entry(dataset, str(split)):
        return
    else:
        sections = split_sections(dataset, str(split), case_ids=[case.case_id for case in listing.cases])
    place = {one: section for section, ids in sections.items() for one in ids}
    strangers = [case for case in listing.cases if not _place(case, place, listing, str(split))]
    if strangers:
        listing.notes.append(
            f"{len(strangers)} cases are in no section of the split {split}, such as {strangers[0].case_id}"
        )
    present = {name for case in listing.cases for name in (case.patient_id, case.case_id)}
    listing.notes += [
        f"{sum(one in present for one in ids)} of {len(ids)} ids of the split's {section} part are here"
        for section, ids in sections.items()
    ]


def _place(case: Case, place: Mapping[str, str], listing: Listing, split: str) -> bool:
    section = place.get(case.patient_id, place.get(case.case_id))
    if section and case.section and section != case.section:
        message = (
            f"lies in a folder for {case.section}, but split {split} puts {case.patient_id} into {section}; "
            "move it, or give split='folders'."
        )
        listing.problems.append(Problem(case.image, message))
    case.section = section or case.section
    return section is not None


def in_section(listing: Listing, section: str | None) -> list[Case]:
    """The cases of a section, all of them for None.

    Raises:
        ValueError: unknown section, or one without cases.
    """
    if section is None:
        return listing.cases
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {SECTIONS}, got {section!r}.")
    cases = [case for case in listing.cases if case.section == section]
    if not cases:
        held = {name: sum(case.section == name for case in listing.cases) for name in SECTIONS}
        raise ValueError(f"{listing.dataset} must hold cases for {section}, got {held}; choose another split.")
    return cases
