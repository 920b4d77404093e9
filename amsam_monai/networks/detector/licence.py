"""The licence of detectors that derive from Ultralytics' YOLO, which goes wherever such a file goes."""

from __future__ import annotations

import os
from pathlib import Path

LICENCE = "AGPL-3.0"
TEXT = Path(__file__).with_name("AGPL-3.0.txt")


def licence_of(detector: str | Path) -> Path:
    """Where the licence of a detector's file lies: beside it, detector.LICENSE for detector.pth."""
    return Path(detector).with_suffix(".LICENSE")


def licence_text() -> str:
    """The GNU Affero General Public License, version 3, word for word."""
    return TEXT.read_text(encoding="utf-8")


def write_licence(detector: str | Path) -> Path:
    """Write the licence beside a detector's file, where it is not there yet; gives its path."""
    path = licence_of(detector)
    if path.is_file() and path.read_text(encoding="utf-8") == licence_text():
        return path
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(licence_text(), encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
