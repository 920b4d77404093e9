"""Which cases train, which validate, which test: a datalist cut by patient, so that few labels are not lost."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amsam_monai.data.ids import cases_of, read_ids
from amsam_monai.data.patients import with_patients
from amsam_monai.data.splits import draw_support, held_out_ids, pick, read_sections, split_sections, support_ids
from amsam_monai.keys import PATIENT_ID

logger = logging.getLogger(__name__)

ALL = "all"
POOL = 16  # patients that a draw sets aside for support, so that all shots of a draw are scored on the same cases

Cases = list[dict[str, Any]]
Ids = Sequence[str] | str | Path | None


def sections(
    datalist: Sequence[Mapping[str, Any]],
    *,
    shots: int | str | None = ALL,
    validation: int = 0,
    test: int | None = None,
    draw: int = 0,
    listed: str | Path | None = None,
    split: str = "official",
    pool: int = POOL,
    train_ids: Ids = None,
    validation_ids: Ids = None,
    test_ids: Ids = None,
    patients: str | None = None,
) -> dict[str, Cases]:
    """Cut a datalist by patient into "train", "val" and "test".

    Without further arguments all cases train. With a number of shots so many patients train, and 4, 8 and 16 shots of
    one draw nest and share their test cases, since the first `pool` patients never test. Ids of your own go before
    `listed`, and `listed` before drawing.

    Args:
        datalist: cases with "case_id" and, where a patient has several cases, "patient_id".
        shots: patients that train; "all" (or None) trains on all that neither validate nor test.
        validation: patients that validate: further ones where `shots` are drawn, else taken from those that train.
        test: patients that test. None tests those listed or, where `shots` are drawn, all others; 0 tests nobody.
        draw: number of the draw, or seed.
        listed: name of a file in data/splits, or a JSON file of your own, see `read_sections`. A named file's draws
            are used with a number of shots, where the datalist holds all their ids. Its split is used with "all": the
            training part trains, the validation part (the test part, where it has none) is "test". The parts of one's
            own file are taken at their word.
        split: name of a split in the file of data/splits.
        pool: patients that never test, at least `shots`.
        train_ids: these train; ids of patients or of cases, or a file with them, a line each.
        validation_ids: these validate.
        test_ids: these test.
        patients: how cases belong to patients, see `with_patients`.

    Raises:
        ValueError: a case without id, ids that the datalist lacks, a patient in two parts, or too few patients.
    """
    cases = with_patients(datalist, patients)
    shots = None if shots in (None, ALL) else _count("shots", shots or 0)
    validation, test = _count("validation", validation), None if test is None else _count("test", test)
    draw, pool = _count("draw", draw), _count("pool", pool)
    given = {"train": read_ids(train_ids), "val": read_ids(validation_ids), "test": read_ids(test_ids)}
    named = None
    if listed is not None and all(ids is None for ids in given.values()):
        if str(listed).endswith(".json"):
            own = read_sections(listed)
            given = {"train": own.get("training"), "val": own.get("validation"), "test": own.get("test", [])}
        elif shots is None:
            given |= _listed_split(cases, str(listed), split, test)
        else:
            named = str(listed)
    if shots is None or any(ids is not None for ids in given.values()):
        parts = _given(cases, given, shots, validation, test, draw)
    else:
        parts = _drawn(cases, shots, validation, test, draw, pool, named)
    logger.info("%s", ", ".join(f"{part}: {len(part_cases)} cases" for part, part_cases in parts.items()))
    return parts


def _count(name: str, value: Any) -> int:
    try:
        count = int(str(value))
    except ValueError:
        count = -1
    if count < 0:
        also = f" (or {ALL})" if name == "shots" else ""
        raise ValueError(f"{name} must be a whole number, at least 0{also}, got {value}.")
    return count


def to_score(parts: Mapping[str, Cases], part: str = "test") -> Cases:
    """The cases of a part, which an evaluation cannot do without.

    Raises:
        ValueError: there is none.
    """
    if not parts[part]:
        raise ValueError(
            f"there is no case to score: the part {part!r} of the data is empty. Let some patients test, or list them "
            "(test, test_ids)."
        )
    return parts[part]


def _drawn(
    cases: Cases, shots: int, validation: int, test: int | None, draw: int, pool: int, listed: str | None
) -> dict[str, Cases]:
    """Few patients train, drawn or listed; the pool never tests."""
    names = _names(cases)
    known = _listed_draw(names, draw, listed) if listed is not None else None
    if known is not None:
        order, pool, others = known
    else:
        order = draw_support(names, shots=len(names), seed=draw)
        pool = max(shots, pool)
        pool = pool if len(names) > pool + validation else shots
        others = order[pool + validation :]
    chosen = {"train": order[:shots], "val": order[pool : pool + validation], "test": others[:test]}
    wanted = {"train": max(1, shots), "val": validation, "test": 1 if test is None else test}
    if any(len(chosen[part]) < number for part, number in wanted.items()):
        raise ValueError(
            "shots must be at least 1 and leave cases to test (or let 0 test), got "
            f"{shots} shots and {validation} for validation of {len(names)} patients."
        )
    logger.info("draw %d trains on %d patients", draw, len(chosen["train"]))
    logger.debug("%s", ", ".join(sorted(chosen["train"])))
    return {part: pick(cases, sorted(ids), by=PATIENT_ID) for part, ids in chosen.items()}


def _listed_draw(names: list[str], draw: int, listed: str) -> tuple[list[str], int, list[str]] | None:
    """Patients in order, how many of them are set aside for support, and who tests; None if some are missing."""
    held_out, support = held_out_ids(listed), support_ids(listed, shots=POOL, draw=draw)
    if missing := {*held_out, *support} - set(names):
        logger.warning("%d patients of the draws of %s are not here; others are drawn", len(missing), listed)
        return None
    return support + sorted(set(names) - set(held_out) - set(support)), POOL, held_out


def _listed_split(cases: Cases, listed: str, split: str, test: int | None) -> dict[str, list[str]]:
    known = split_sections(listed, split, case_ids=_names(cases))
    return {"train": known["training"], "test": [] if test == 0 else known.get("validation") or known["test"]}


def _given(
    cases: Cases, given: Mapping[str, list[str] | None], shots: int | None, validation: int, test: int | None, draw: int
) -> dict[str, Cases]:
    """Parts as listed; those that are not come from the patients that the lists leave."""
    parts = {part: cases_of(cases, ids) for part, ids in given.items() if ids is not None}
    taken = _one_part_each(parts)
    left = [name for name in _names(cases) if name not in taken]
    order = draw_support(left, shots=len(left), seed=draw) if left else []

    def take(part: str, number: int) -> None:
        if number > len(order):
            raise ValueError(
                f"{part} must take at most the {len(order)} patients that are left, got {number}; list fewer."
            )
        parts[part] = pick(cases, order[:number], by=PATIENT_ID)
        del order[:number]

    drawn = "train" not in parts and shots is not None
    if drawn:
        take("train", shots or 0)
        if "val" not in parts:
            take("val", validation)
    if "test" not in parts:
        take("test", test if test is not None else len(order) if drawn else 0)
    if "train" not in parts:
        parts["train"] = pick(cases, [name for name in left if name in order], by=PATIENT_ID)
    if "val" not in parts:
        parts["train"], parts["val"] = _cut(parts["train"], validation, draw)
    if not parts["train"]:
        raise ValueError(f"some patients must train, got none of {len(_names(cases))}.")
    return {part: parts[part] for part in ("train", "val", "test")}


def _cut(cases: Cases, validation: int, draw: int) -> tuple[Cases, Cases]:
    """Those that go on to train, and those that validate."""
    names = _names(cases)
    if validation and validation >= len(names):
        raise ValueError(f"validation must leave some of {len(names)} training patients to train, got {validation}.")
    validating = set(draw_support(names, shots=validation, seed=draw)) if validation else set()
    stays = [case for case in cases if case[PATIENT_ID] not in validating]
    return stays, [case for case in cases if case[PATIENT_ID] in validating]


def _one_part_each(parts: Mapping[str, Cases]) -> dict[str, str]:
    """The part of every patient.

    Raises:
        ValueError: a patient in two of them.
    """
    seen: dict[str, str] = {}
    for part, cases in parts.items():
        for name in _names(cases):
            if seen.setdefault(name, part) != part:
                raise ValueError(f"a patient must be in one part, got {name} in {seen[name]} and in {part}.")
    return seen


def _names(cases: Cases) -> list[str]:
    """Patients in the order of their first case."""
    return list(dict.fromkeys(case[PATIENT_ID] for case in cases))
