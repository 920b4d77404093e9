"""Patients drawn into folds, and the cases of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from amsam_monai.keys import PATIENT_ID

Cases = list[dict[str, Any]]


def draw_folds(datalist: Sequence[Mapping[str, Any]], *, folds: int = 3, seed: int = 0) -> list[list[str]]:
    """Patients of each fold; folds differ by one patient at most.

    Args:
        datalist: cases.
        folds: how many; as many as there are patients where those are fewer.
        seed: of the draw.

    Raises:
        ValueError: cases of a single patient, of which none can be left out.
    """
    patients = list(dict.fromkeys(str(case[PATIENT_ID]) for case in datalist))
    if len(patients) < 2:
        raise ValueError(
            f"cases must be of at least two patients, so that some can be left out to measure on, got {len(datalist)} "
            f"case(s) of {len(patients)}. Label one more, or say with --patients which cases are of one patient."
        )
    order = np.random.default_rng(seed).permutation(len(patients))
    count = min(folds, len(patients))
    return [[patients[place] for place in sorted(order[number::count])] for number in range(count)]


def parted(datalist: Sequence[Mapping[str, Any]], left_out: Sequence[str]) -> tuple[Cases, Cases]:
    """Cases that train, and those of the patients that are left out."""
    out = set(left_out)
    cases = [dict(case) for case in datalist]
    return [c for c in cases if c[PATIENT_ID] not in out], [c for c in cases if c[PATIENT_ID] in out]
