"""Few-shot draws: which cases train, which choose the epoch, which are held out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from amsam_monai.data.splits import draw_support, held_out_ids, support_ids
from amsam_monai.keys import CASE_ID, PATIENT_ID

logger = logging.getLogger(__name__)

POOL = 16  # patients that a draw sets aside for support, so that all shots of a draw are scored on the same cases


def few_shot_sections(
    datalist: Sequence[Mapping[str, Any]],
    *,
    shots: int,
    draw: int = 0,
    validation: int = 0,
    dataset: str | None = None,
    pool: int = POOL,
) -> dict[str, list[dict[str, Any]]]:
    """Cut a datalist by patient into "train", "val" and "test".

    Where the datalist holds all ids of the draws listed in data/splits, those are used: the draw's first `shots` train,
    what no draw touches tests. Otherwise the patients are permuted by `draw`: the first `shots` train, what follows the
    first `pool` (or `shots`, where there are too few patients) tests. Either way draws of 4, 8 and 16 shots nest and
    share their test cases, and the validating patients are among neither.

    Args:
        datalist: cases with "case_id" and, where a patient has several cases, "patient_id".
        shots: patients that train.
        draw: number of the draw.
        validation: patients that validate.
        dataset: name of a file in data/splits; None permutes.
        pool: patients that never test, at least `shots`.

    Raises:
        ValueError: fewer patients than asked for, or a case without id.
    """
    patients: dict[str, list[dict[str, Any]]] = {}
    for case in datalist:
        if CASE_ID not in case:
            raise ValueError(f"every case must have a {CASE_ID!r}, got one with {sorted(case)}.")
        patients.setdefault(str(case.get(PATIENT_ID, case[CASE_ID])), []).append(dict(case))
    names, pool = list(patients), max(shots, pool)
    listed = _listed(names, draw, dataset) if dataset is not None else None
    order, pool, test = listed or _permuted(names, draw, pool if len(names) > pool + validation else shots, validation)
    chosen = {"train": order[:shots], "val": order[pool : pool + validation], "test": test}
    if not test or len(chosen["train"]) < max(1, shots) or len(chosen["val"]) < validation:
        raise ValueError(
            f"shots must be at least 1 and leave cases to test, got {shots} shots and {validation} for validation "
            f"of {len(patients)} patients."
        )
    logger.info("draw %d trains on %s", draw, ", ".join(sorted(chosen["train"])))
    return {name: [case for patient in sorted(ids) for case in patients[patient]] for name, ids in chosen.items()}


def _listed(patients: list[str], draw: int, dataset: str) -> tuple[list[str], int, list[str]] | None:
    """Patients in order, how many of them are set aside for support, and who tests; None if some are missing."""
    held_out, support = held_out_ids(dataset), support_ids(dataset, shots=POOL, draw=draw)
    if not set(held_out) | set(support) <= set(patients):
        return None
    return support + sorted(set(patients) - set(held_out) - set(support)), POOL, held_out


def _permuted(patients: list[str], draw: int, pool: int, validation: int) -> tuple[list[str], int, list[str]]:
    """The same for any patients."""
    order = draw_support(patients, shots=len(patients), seed=draw)
    return order, pool, order[pool + validation :]
