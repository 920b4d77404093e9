"""Blocks of settings that are measured on labelled cases and not chosen: their shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MEASURED = ("limits", "quality")
CLASS_LIMITS = {"slice_share": 0, "volume_share": 2, "parts": 0, "gap": 0}  # how many numbers; 0 is one by itself
FIT = ("count", "base", "labels", "features", "usual", "spread", "absent")
FIT_MORE = ("cases", "top")  # which blocks of before lack
QUALITY_FEATURES = ("confidence", "firmness", "agreement", "whole", "continuity", "usual")
ABSENT = ("odds", "mass", "beside")


def check_limits_block(limits: Any, classes: Iterable[str]) -> None:
    """Refuse what `amsam_monai.segment.limits` cannot read; None is no limits.

    Raises:
        ValueError: another block, a class that the settings do not have, or a value that is not a number.
    """
    if limits is None:
        return
    _names("limits", limits, ("cases", "classes", "intensity"))
    of_classes = limits.get("classes") or {}
    _names("limits.classes", of_classes, classes)
    for name, block in of_classes.items():
        _names(f"limits.classes.{name}", block, CLASS_LIMITS)
        for key, value in block.items():
            _numbers(f"limits.classes.{name}.{key}", value, CLASS_LIMITS[key])
    intensity = limits.get("intensity") or {}
    _names("limits.intensity", intensity, ("low", "high"))
    if intensity and set(intensity) != {"low", "high"}:
        raise ValueError(f"settings.limits.intensity must have low and high, got {sorted(intensity)}.")
    for key, rows in intensity.items():
        if not isinstance(rows, list) or len(rows) not in (1, 3):
            raise ValueError(f"settings.limits.intensity.{key} must have a row for 1 or 3 channels, got {rows!r}.")
        for row in rows:
            _numbers(f"limits.intensity.{key}", row, 5)


def check_quality_block(quality: Any, classes: Iterable[str]) -> None:
    """Refuse what `amsam_monai.segment.calibration` cannot read; None is not calibrated.

    Raises:
        ValueError: another block, a class that the settings do not have, or a value that is not a number.
    """
    if quality is None:
        return
    _names("quality", quality, ("case", "slice"))
    for part, block in quality.items():
        _names(f"quality.{part}", block, (*FIT, *FIT_MORE))
        if missing := [name for name in FIT if name not in block]:
            raise ValueError(f"settings.quality.{part} must have {', '.join(FIT)}, lacks {', '.join(missing)}.")
        for name in ("count", "base", "spread", *(one for one in FIT_MORE if one in block)):
            _numbers(f"quality.{part}.{name}", block[name], 0)
        for name, known in (("labels", classes), ("usual", classes), ("absent", ABSENT)):
            _names(f"quality.{part}.{name}", block[name], known)
            for key, value in block[name].items():
                _numbers(f"quality.{part}.{name}.{key}", value, 0)
        _names(f"quality.{part}.features", block["features"], QUALITY_FEATURES)
        for key, value in block["features"].items():
            _numbers(f"quality.{part}.features.{key}", value, 2)


def _names(what: str, block: Any, known: Iterable[str]) -> None:
    if not isinstance(block, Mapping) or (unknown := sorted(str(name) for name in {*block} - {*known})):
        got = block if not isinstance(block, Mapping) else ", ".join(unknown)
        raise ValueError(f"settings.{what} must be a mapping of {', '.join(known)}, got {got!r}.")


def _numbers(what: str, value: Any, count: int) -> None:
    values = value if count and isinstance(value, list) else [value]
    numeric = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    if not numeric or len(values) != max(count, 1):
        raise ValueError(f"settings.{what} must be {f'{count} numbers' if count else 'a number'}, got {value!r}.")
