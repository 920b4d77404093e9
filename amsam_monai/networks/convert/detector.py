"""Detector files of before 0.2 to the present format."""

from __future__ import annotations

from pathlib import Path

from amsam_monai.networks.detector.architecture import known_architecture
from amsam_monai.networks.detector.files import FORMAT, OLD_FORMAT, write_detector
from amsam_monai.networks.weights.sealed import check_seal, read_plain

USUAL = {"more_sizes": [], "snap_to_dark_object": False, "cases": None}  # what the oldest files do not say
REMEDY = "Give a file that `amsam train-detector` wrote."


def is_old_detector(path: Path) -> bool:
    """Whether a file is a detector of before.

    Raises:
        ValueError: it is no file of tensors and plain values.
    """
    content = read_plain(path, remedy=REMEDY)
    return isinstance(content, dict) and content.get("format") == OLD_FORMAT


def is_current_detector(path: Path) -> bool:
    """Whether a file is a detector in the present format, and whole.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no file of tensors and plain values, or a detector that was damaged.
    """
    content = read_plain(path, remedy=REMEDY)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    check_seal(path, content.pop("state_dict", {}), content, remedy=REMEDY)
    return True


def bring_over_detector(source: Path, target: Path) -> None:
    """Write a detector of before in the present format, its weights byte for byte.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a detector of before, or one of an unknown architecture.
    """
    content = read_plain(source, remedy=REMEDY)
    told = content.get("format") if isinstance(content, dict) else None
    if told != OLD_FORMAT:
        hint = "it is in the present format already." if told == FORMAT else REMEDY
        raise ValueError(f"{source} must have format {OLD_FORMAT}, got {told!r}: {hint}")
    config = {**USUAL, **content["config"], "architecture": known_architecture(content["config"]["architecture"])}
    if "contrast" in config:
        config["snap_to_dark_object"] = config.pop("contrast")
    write_detector(target, config, content["state_dict"])
