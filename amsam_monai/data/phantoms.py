"""Phantom data sets in the layout of real ones, for demonstrations and tests. Not for training anything in earnest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from amsam_monai.data.phantoms_skin import skin_lesion

FIRST_ISIC_ID = 9_000_001  # a range that the archive's challenge sets do not use


def write_phantoms(
    kind: str, out: str | os.PathLike[str], *, cases: int = 8, seed: int = 0, side: int | None = None
) -> Iterator[Path]:
    """Write a phantom data set, case by case; yields what was just written, so that a caller can show progress.

    The same kind, seed, side and case number always give the same files; more cases only add to fewer.

    Args:
        kind: one of KINDS.
        out: folder; made if missing.
        cases: lesions, or patients.
        seed: another seed is another population.
        side: pixels of the longer side of an image or slice; None is the kind's own.

    Raises:
        ValueError: unknown kind, no cases, or a side below 32.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    if cases < 1:
        raise ValueError(f"cases must be at least 1, got {cases}.")
    if side is not None and side < 32:
        raise ValueError(f"side must be at least 32 pixels, got {side}.")
    writer, default_side = KINDS[kind]
    return (writer(Path(out), case, seed, side or default_side) for case in range(cases))


def write_isic_case(out: Path, case: int, seed: int, side: int) -> Path:
    """One lesion as images/ISIC_*.jpg and labels/ISIC_*_segmentation.png (0 and 255)."""
    image, mask = skin_lesion(np.random.default_rng([seed, case]), side)
    name = f"ISIC_{FIRST_ISIC_ID + case:07d}"
    save_picture(image, out / "images" / f"{name}.jpg")
    save_picture(mask, out / "labels" / f"{name}_segmentation.png")
    return out / "images" / f"{name}.jpg"


def save_picture(array: np.ndarray, path: Path) -> None:
    """Write a picture under a temporary name beside `path`, then move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    Image.fromarray(array).save(partial, quality=92)
    os.replace(partial, path)


# kind -> (writer of one case, pixels of the longer side)
KINDS: dict[str, tuple[Callable[[Path, int, int, int], Path], int]] = {"isic": (write_isic_case, 512)}
