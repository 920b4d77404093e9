"""Halves of a training set, by patient."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import Dataset, Subset

from amsam_monai import keys

logger = logging.getLogger(__name__)

Case = TypeVar("Case", bound=Mapping[str, Any])


def split_by_patient(datalist: Sequence[Case], fraction: float = 0.5, seed: int = 0) -> tuple[list[Case], list[Case]]:
    """D1 for the lower level and D2 for the upper one (AM-SAM, section 3.2): disjoint, no patient in both.

    Patients are drawn at random into D1 until it holds `fraction` of the cases, rounded down; both halves are logged.

    Args:
        datalist: cases with "patient_id", or else "case_id"; each case without a patient is its own.
        fraction: share of the cases for D1.
        seed: another seed draws another split.

    Raises:
        ValueError: fraction outside (0, 1), a case without any id, or fewer than two patients.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}.")
    patients = [_patient(case) for case in datalist]
    names = sorted(set(patients))
    if len(names) < 2:
        raise ValueError(f"the training set must have at least two patients to be split, got {len(names)}: {names}.")
    order = np.random.default_rng(seed).permutation(len(names))
    wanted = max(1, int(len(datalist) * fraction))
    first: set[str] = set()
    for name in (names[index] for index in order[:-1]):  # one patient at least stays for D2
        first.add(name)
        if sum(patient in first for patient in patients) >= wanted:
            break
    halves = [
        [case for case, name in zip(datalist, patients, strict=True) if (name in first) == own] for own in (True, False)
    ]
    for title, half in zip(("D1 (lower level)", "D2 (upper level)"), halves, strict=True):
        logger.info("%s: %d cases", title, len(half))
        logger.debug("%s", ", ".join(str(_name(case)) for case in half))  # who they are is nobody's business
    return halves[0], halves[1]


def subsets_by_patient(dataset: Dataset[Any], fraction: float = 0.5, seed: int = 0) -> tuple[Subset[Any], Subset[Any]]:
    """The same halves as parts of one data set, so that both levels share its cache and its memory.

    Args:
        dataset: a MONAI data set, whose `data` is the datalist.
        fraction: see `split_by_patient`.
        seed: see `split_by_patient`.
    """
    cases: Sequence[Mapping[str, Any]] = dataset.data  # type: ignore[attr-defined]
    numbered = [
        {keys.CASE_ID: _name(case), keys.PATIENT_ID: _patient(case), "index": index} for index, case in enumerate(cases)
    ]
    first, second = ([case["index"] for case in half] for half in split_by_patient(numbered, fraction, seed))
    return Subset(dataset, first), Subset(dataset, second)


def _patient(case: Mapping[str, Any]) -> str:
    name = case.get(keys.PATIENT_ID, case.get(keys.CASE_ID))
    if name is None:
        raise ValueError(f"each case must have {keys.PATIENT_ID!r} or {keys.CASE_ID!r}, got only {sorted(case)}.")
    return str(name)


def _name(case: Mapping[str, Any]) -> Any:
    return case.get(keys.CASE_ID, case.get(keys.PATIENT_ID))
