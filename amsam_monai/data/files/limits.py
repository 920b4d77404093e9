"""How large an image may be, asked before anything is allocated for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from amsam_monai.data.files.loaded_image import ImageFileError

MAX_PIXELS = 178_956_970  # of a picture: Pillow's own limit
MAX_VOXELS = 2**31  # of a volume: 2048 slices of 1024 x 1024


def check_pixels(path: Path, size: Sequence[int], limit: int | None = None) -> None:
    """Refuse a picture, or pages of one, of more pixels than the limit.

    Args:
        path: the file.
        size: width, height, and how many pages.
        limit: pixels of a picture, MAX_PIXELS by default.
    """
    largest, found = MAX_PIXELS if limit is None else limit, math.prod(int(length) for length in size)
    if found > largest:
        shown = " x ".join(str(length) for length in size)
        raise ImageFileError(
            path,
            f"must have at most {largest} pixels, got {shown}; give --max-pixels {found} (max_pixels in Python) if the "
            "memory holds it, or cut a whole-slide picture into tiles and segment their folder.",
        )


def check_voxels(path: Path, shape: Sequence[int], limit: int | None = None) -> None:
    """Refuse a volume that declares more voxels than the limit, MAX_VOXELS by default."""
    largest, found = MAX_VOXELS if limit is None else limit, math.prod(int(length) for length in shape)
    if found > largest:
        shown = " x ".join(str(length) for length in shape)
        raise ImageFileError(
            path,
            f"must have at most {largest} voxels, declares {shown}; give --max-pixels {found} (max_pixels in Python) "
            "if that is true and the memory holds it.",
        )
