"""Training on all of a data set's training part: what trains, what watches, what is scored at the end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from amsam_monai.data.splits import draw_support, pick, split_sections
from amsam_monai.keys import CASE_ID, PATIENT_ID

logger = logging.getLogger(__name__)


def whole_sections(
    datalist: Sequence[Mapping[str, Any]],
    *,
    dataset: str | None,
    split: str = "official",
    validation: int = 0,
    test: int = 1,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """Cut a datalist by patient into "train", "val" (cut from the training part) and "test".

    Args:
        datalist: cases with "case_id" and, where a patient has several cases, "patient_id".
        dataset: name of a file in data/splits, whose training part trains and whose validation part (the test part,
            where it has none) is "test": what is scored once, at the end. None draws by `seed`: `test` patients test,
            the rest trains.
        split: name of a split in the file.
        validation: patients of the training part that do not train.
        test: patients that test where there is no split.
        seed: of the draws.

    Raises:
        ValueError: a case without id, an id of the split that the datalist lacks, or no patient left to train.
    """
    cases = [{PATIENT_ID: case[CASE_ID], **case} for case in datalist if case.get(CASE_ID)]
    if len(cases) < len(datalist):
        raise ValueError(f"every case must have a {CASE_ID!r}, {len(datalist) - len(cases)} have none.")
    patients = list(dict.fromkeys(case[PATIENT_ID] for case in cases))
    if dataset is None:
        testing = draw_support(patients, shots=test, seed=seed)
        train = [patient for patient in patients if patient not in set(testing)]
    else:
        listed = split_sections(dataset, split, case_ids=patients)
        train, testing = listed["training"], listed.get("validation") or listed["test"]
    if validation >= len(train):
        raise ValueError(f"validation must leave some of {len(train)} training patients to train, got {validation}.")
    validating = set(draw_support(train, shots=validation, seed=seed)) if validation else set()
    parts = {
        "train": [patient for patient in train if patient not in validating],
        "val": [patient for patient in train if patient in validating],
        "test": testing,
    }
    logger.info("%s", ", ".join(f"{name}: {len(ids)} patients" for name, ids in parts.items()))
    return {name: pick(cases, ids, by=PATIENT_ID) for name, ids in parts.items()}
