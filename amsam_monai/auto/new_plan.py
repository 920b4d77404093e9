"""A plan for cases that have none yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from amsam_monai.auto.cases import ids_of
from amsam_monai.auto.detectors import choose_detector
from amsam_monai.auto.fingerprint import fingerprint
from amsam_monai.auto.folds import draw_folds
from amsam_monai.auto.methods import METHODS
from amsam_monai.auto.plan import Choice, Plan, choose
from amsam_monai.data.datasets.load_cased import LoadCased
from amsam_monai.keys import IMAGE

RUNS = max(method.runs for method in METHODS.values())


def new_plan(
    datalist: Sequence[Mapping[str, Any]],
    classes: dict[str, int],
    name: str,
    *,
    folds: int,
    seed: int,
    minutes: float,
    chosen: Mapping[str, Any],
    sam: Mapping[str, Any] | None,
    detector: str | None,
    detects: bool,
) -> Plan:
    """A plan without steps yet, from what the cases are like and what was told.

    Args:
        datalist: cases that train, all of them of one kind.
        classes: name -> value in the label files.
        name: of the bundle.
        folds: of the cross-validation; 0 draws none.
        seed: of everything that is drawn.
        minutes: for everything.
        chosen: arguments of `choose`; None leaves one to the cases.
        sam: backbone and weights; None for MobileSAM's.
        detector: "yolo" or "embedding"; None takes what is here.
        detects: whether a method that may train has a detector.

    Raises:
        ValueError: a class that no case has, or cases of a single patient.
    """
    load: Callable[[Any], Any] = LoadCased(classes=classes)
    first = load(datalist[0])
    loaded = chain([first], map(load, datalist[1:]))
    seen = fingerprint(loaded, list(classes), volumes=first[IMAGE].ndim == 4)
    missing = [one for one, facts in seen.classes.items() if not facts.cases]
    if missing:
        raise ValueError(
            f"each class must be in a training case, got none with {', '.join(missing)}; leave it out of --labels, or "
            "label a case that has it."
        )
    choices = choose(seen, **chosen)
    if detects or detector is not None:
        choices["detector"] = choose_detector(detector)
    if sam is not None:
        choices["backbone"] = Choice(dict(sam), "as told", "--backbone")
        if sam.get("backbone") != "vit_t":
            choices["window"] = Choice(0, "an encoder that looks at the whole image sees whole images")
    drawn = draw_folds(datalist, folds=folds, seed=seed) if folds else []
    return Plan(name, classes, seen.to_mapping(), choices, ids_of(datalist), drawn, seed, minutes)


def choose_runs(told: int | None, steps: int | None) -> Choice:
    """How many runs of the last training are averaged at most, from --runs and --steps where they are told."""
    if told is not None:
        return Choice(told, "as told", "--runs")
    if steps is not None:
        return Choice(1, "as many steps as told, once", "--runs")
    reason = "at most: the weights of plain from so many seeds are averaged where there is time; one may be a bad one"
    return Choice(RUNS, reason, "--runs")
