"""Which detector AM-SAM trains with."""

from __future__ import annotations

import importlib.util

from amsam_monai.auto.plan import Choice
from amsam_monai.bundles.arguments import DETECTORS
from amsam_monai.networks.weights import store

OPTION = "--detector"
YOLO_WEIGHTS = "yolo26n"


def choose_detector(told: str | None = None) -> Choice:
    """The one that is told; else YOLO where it is here, and where it is not the one that reads SAM's embedding.

    Raises:
        ValueError: another name than those of DETECTORS.
    """
    if told is not None:
        if told not in DETECTORS:
            raise ValueError(f"detector must be one of {', '.join(DETECTORS)}, got {told!r}.")
        return Choice(told, "as told", OPTION)
    if missing := _missing():
        return Choice("embedding", f"reads SAM's own embedding, since {missing} not here, which yolo needs", OPTION)
    return Choice("yolo", "pretrained on COCO (AGPL-3.0, and so is what is fitted from it)", OPTION)


def _missing() -> str:
    """What YOLO needs and is not here."""
    try:
        found = importlib.util.find_spec("ultralytics") is not None
    except ValueError:  # a module without a specification
        found = False
    if not found:
        return "ultralytics is"
    try:
        store.path(YOLO_WEIGHTS)
    except FileNotFoundError:
        return f"weights of {YOLO_WEIGHTS} are"
    return ""
