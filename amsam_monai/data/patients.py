"""Whose case is it: patients read off a datalist's entries, off case ids by a pattern, or off a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amsam_monai.keys import CASE_ID, PATIENT_ID

SHOWN = 3  # case ids that a message names


def with_patients(datalist: Sequence[Mapping[str, Any]], patients: str | None = None) -> list[dict[str, Any]]:
    """The datalist with a "patient_id" in every case, so that a patient is never cut in two.

    Args:
        datalist: cases with a "case_id".
        patients: a key of the cases ("subject"), or what `patients_of` takes: a pattern or a table. None takes their
            "patient_id", and a case without one counts as a patient of its own.

    Raises:
        ValueError: a case without id, or a case that `patients` says nothing about.
    """
    if nameless := sum(not case.get(CASE_ID) for case in datalist):
        raise ValueError(f"every case must have a {CASE_ID!r}, {nameless} have none.")
    if patients is None:
        return [{**case, PATIENT_ID: str(case.get(PATIENT_ID) or case[CASE_ID])} for case in datalist]
    if any(patients in case for case in datalist):
        lost = [str(case[CASE_ID]) for case in datalist if case.get(patients) in (None, "")]
        if lost:
            raise ValueError(f"patients: every case must have {patients!r}, {len(lost)} have none: {_some(lost)}.")
        return [{**case, PATIENT_ID: str(case[patients])} for case in datalist]
    found = patients_of([str(case[CASE_ID]) for case in datalist], patients)
    return [{**case, PATIENT_ID: found[str(case[CASE_ID])]} for case in datalist]


def patients_of(case_ids: Iterable[str], patients: str) -> dict[str, str]:
    """The patient of every case id.

    Args:
        case_ids: of the cases.
        patients: a regular expression that matches the whole case id and whose one group is the patient, such as
            "(.+)_[LR]" for eyes; or a table, "cases.csv" with the columns "case_id" and "patient_id", or
            "cases.csv:subject" for another column of patients.

    Raises:
        ValueError: a pattern without exactly one group, or ids that it does not match or the table does not hold.
        FileNotFoundError: no such table.
    """
    ids = list(case_ids)
    file, _, column = patients.partition(".csv")
    if _ and (not column or column.startswith(":")):
        table = _read_table(Path(f"{file}.csv"), column[1:] or PATIENT_ID)
        found = {one: table[one] for one in ids if table.get(one)}
    else:
        found = {one: match[1] for one in ids if (match := _pattern(patients).fullmatch(one)) and match[1]}
    if lost := [one for one in ids if one not in found]:
        raise ValueError(
            f"patients must name the patient of every case; {patients!r} does not for {len(lost)} of {len(ids)}: "
            f"{_some(lost)}."
        )
    return found


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"patients must be a regular expression, got {text!r} ({error}).") from error
    if pattern.groups != 1:
        raise ValueError(
            f"patients must be a key of the cases, a csv table, or a pattern with one group such as '(.+)_[LR]', "
            f"got {text!r}."
        )
    return pattern


def _read_table(path: Path, column: str) -> dict[str, str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        there = reader.fieldnames or []
        if lacking := [name for name in (CASE_ID, column) if name not in there]:
            raise ValueError(f"{path}: must have the columns {CASE_ID} and {column}, lacks {', '.join(lacking)}.")
        return {row[CASE_ID]: row[column] or "" for row in reader}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
