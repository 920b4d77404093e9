"""How large an image may be, asked before anything is allocated for it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from amsam_monai.data.files.loaded_image import ImageFileError

MAX_PIXELS = 178_956_970  # of a picture: Pillow's own limit
MAX_VOXELS = 2**30  # of a volume: 1024 slices of 1024 x 1024
MAX_REST = 2**26  # bytes beyond the voxels that a compressed file declares
VARIABLE = "AMSAM_MAX_PIXELS"  # the limit for all commands and servers


def allowed(usual: int, limit: int | None) -> int:
    """The limit that is given, else the environment's, else the usual one.

    Raises:
        ValueError: the environment's is no whole number.
    """
    said = os.environ.get(VARIABLE, "")
    if limit is None and said:
        if not said.isdigit():
            raise ValueError(f"{VARIABLE} must be a whole number, got {said!r}.")
        return int(said)
    return usual if limit is None else limit


def check_pixels(path: Path, size: Sequence[int], limit: int | None = None) -> None:
    """Refuse a picture, or pages of one, of more pixels than the limit.

    Args:
        path: the file.
        size: width, height, and how many pages.
        limit: pixels of a picture; $AMSAM_MAX_PIXELS, or MAX_PIXELS by default.
    """
    largest, found = allowed(MAX_PIXELS, limit), math.prod(int(length) for length in size)
    if found > largest:
        shown = " x ".join(str(length) for length in size)
        raise ImageFileError(
            path,
            f"must have at most {largest} pixels, got {shown}; give --max-pixels {found} ({VARIABLE}={found}) if "
            "the memory holds it, or cut a whole-slide picture into tiles and segment their folder.",
        )


def check_voxels(path: Path, shape: Sequence[int], limit: int | None = None) -> None:
    """Refuse a volume that declares more voxels than the limit, MAX_VOXELS by default."""
    largest, found = allowed(MAX_VOXELS, limit), math.prod(int(length) for length in shape)
    if found > largest:
        shown = " x ".join(str(length) for length in shape)
        raise ImageFileError(
            path,
            f"must have at most {largest} voxels, declares {shown}; give --max-pixels {found} ({VARIABLE}={found}) "
            "if that is true and the memory holds it.",
        )


def check_rest(path: Path, rest: int) -> None:
    """Refuse a compressed file that unpacks to far more than the voxels it declares, so that it is not read on."""
    if rest > MAX_REST:
        raise ImageFileError(
            path, f"unpacks to over {MAX_REST} bytes beyond the voxels that it declares; it is damaged, or no image."
        )
