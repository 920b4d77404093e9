"""Colours of classes, the same in pictures, overlays and label maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# background, then hues that stay apart for the common kinds of colour blindness (after Okabe and Ito), then repeats
BASE_COLOURS = (
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (170, 170, 170),
)

WHITE_D50 = np.array([0.9642, 1.0, 0.8251])
SRGB_TO_XYZ_D50 = np.array(  # Bradford-adapted
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)


def class_colours(count: int = 256) -> np.ndarray:
    """Colours of class indices 0 to `count` - 1, uint8 (count, 3); further rounds are darker, 255 is white."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    hues = np.array(BASE_COLOURS[1:])
    for index in range(1, 256):
        turn, place = divmod(index - 1, len(hues))
        colours[index] = hues[place] * 0.8**turn
    colours[255] = 255  # never scored
    return colours[:count]


def cielab(rgb: Sequence[int] | np.ndarray) -> list[int]:
    """An sRGB colour as DICOM writes it: CIELab under D50, three unsigned 16-bit numbers (PS3.3, C.10.7.1.1)."""
    linear = np.asarray(rgb, dtype=float) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    x, y, z = SRGB_TO_XYZ_D50 @ linear / WHITE_D50
    roots = [value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z)]
    lightness, a, b = 116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])
    scaled = (lightness / 100, (a + 128) / 255, (b + 128) / 255)
    return [int(np.clip(round(value * 65535), 0, 65535)) for value in scaled]
