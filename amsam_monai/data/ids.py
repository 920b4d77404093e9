"""Ids that a person lists: in a list or a file, of patients or of cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amsam_monai.keys import CASE_ID, PATIENT_ID

SHOWN = 8  # missing ids that a message names


def read_ids(ids: Sequence[str] | str | Path | None) -> list[str] | None:
    """Ids as a list: as they are, or from a file, a JSON list or one a line; None stays None.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a JSON file that holds no list.
    """
    if ids is None:
        return None
    if not isinstance(ids, str | Path):
        return [str(one) for one in ids]
    path = Path(ids)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: ids must be a list, or a file that holds one a line; there is no such file.")
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    content = json.loads(text)
    if not isinstance(content, list):
        raise ValueError(f"{path}: must hold a list of ids, got {type(content).__name__}.")
    return [str(one) for one in content]


def cases_of(cases: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> list[dict[str, Any]]:
    """The cases of these ids, in the order of the ids.

    Args:
        cases: with "case_id" and "patient_id".
        ids: of patients, which stand for all their cases, or of single cases.

    Raises:
        ValueError: an id that no case has.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for case in cases:
        found.setdefault(case[PATIENT_ID], []).append(case)
    for case in cases:
        found.setdefault(str(case[CASE_ID]), [case])
    if lost := [one for one in ids if one not in found]:
        raise ValueError(
            f"datalist must hold every id that is listed, lacks {len(lost)} of {len(ids)}: {', '.join(lost[:SHOWN])}."
        )
    unique = {id(case): dict(case) for one in ids for case in found[one]}
    return list(unique.values())
