"""Ranges of grey values to look at an image with: Hounsfield windows of CT, and percentiles of anything."""

from __future__ import annotations

import numpy as np

from amsam_monai.session.image import SessionImage
from amsam_monai.transforms.black_white import percentiles

AS_SEEN = "as the network sees it"
AIR = -900  # HU; a volume with values below is CT
HOUNSFIELD = {  # level and width
    "CT soft tissue": (40, 400),
    "CT lung": (-600, 1500),
    "CT bone": (400, 1800),
    "CT liver": (60, 160),
    "CT brain": (40, 80),
}
PERCENTILES = {"all values": (0, 100), "1 to 99 %": (1, 99), "5 to 95 %": (5, 95), "25 to 99.9 %": (25, 99.9)}


def contrasts_of(image: SessionImage) -> list[str]:
    """Names of contrasts for an image: CT's windows for Hounsfield units alone."""
    hounsfield = image.view is not None and (
        image.intensity.mode == "hu_window" or float(image.source.array.min()) < AIR
    )
    return [AS_SEEN, *(HOUNSFIELD if hounsfield else ()), *PERCENTILES]


def contrast_range(name: str, image: SessionImage) -> tuple[float, float] | None:
    """Stored values that are shown black and white; of a picture, values in [0, 1]; None is what the network sees.

    Raises:
        ValueError: the image has no such contrast.
    """
    names = contrasts_of(image)
    if name not in names:
        raise ValueError(f"contrast must be one of {', '.join(names)}, got {str(name)[:40]!r}.")
    if name == AS_SEEN:
        return None
    if name in HOUNSFIELD:
        level, width = HOUNSFIELD[name]
        return level - width / 2, level + width / 2
    values = image.pixels(0).numpy() if image.view is None else np.asarray(image.source.array)
    low, high = percentiles(values, PERCENTILES[name], float(values.min()), float(values.max()))
    return low, high
