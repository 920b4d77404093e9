"""Few-shot draws: which cases train, which choose the epoch, which are held out."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

from amsam_monai.keys import CASE_ID, PATIENT_ID

logger = logging.getLogger(__name__)

POOL = 16  # patients that a draw sets aside for support, so that all shots of a draw are scored on the same cases


def few_shot_sections(
    datalist: Sequence[Mapping[str, Any]],
    *,
    shots: int,
    draw: int = 0,
    validation: int = 0,
    pool: int = POOL,
) -> dict[str, list[dict[str, Any]]]:
    """Cut a datalist by patient into "train", "val" and "test".

    The patients, sorted, are shuffled by `draw`. The first `shots` train; the first `pool` never test, so that draws of
    4, 8 and 16 shots nest and share their test cases; the next `validation` patients validate; the rest test. Where
    there are too few patients for that, the pool is `shots`.

    Args:
        datalist: cases with "case_id" and, where a patient has several cases, "patient_id".
        shots: patients that train.
        draw: number of the draw.
        validation: patients that validate.
        pool: patients set aside for support.

    Raises:
        ValueError: fewer patients than asked for, or a case without id.
    """
    patients: dict[str, list[dict[str, Any]]] = {}
    for case in datalist:
        if CASE_ID not in case:
            raise ValueError(f"every case must have a {CASE_ID!r}, got one with {sorted(case)}.")
        patients.setdefault(str(case.get(PATIENT_ID, case[CASE_ID])), []).append(dict(case))
    order = sorted(patients)
    random.Random(draw).shuffle(order)
    pool = max(shots, pool)
    if pool + validation >= len(order):
        pool = shots
    if shots < 1 or pool + validation >= len(order):
        raise ValueError(
            f"shots must be at least 1 and leave cases to test, got {shots} shots and {validation} for validation "
            f"of {len(order)} patients."
        )
    chosen = {"train": order[:shots], "val": order[pool : pool + validation], "test": order[pool + validation :]}
    logger.info("draw %d trains on %s", draw, ", ".join(sorted(chosen["train"])))
    return {
        section: [case for patient in sorted(names) for case in patients[patient]] for section, names in chosen.items()
    }
