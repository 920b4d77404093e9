"""Colours of classes, the same in pictures, overlays and label maps."""

from __future__ import annotations

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


def class_colours(count: int = 256) -> np.ndarray:
    """Colours of class indices 0 to `count` - 1, uint8 (count, 3); further rounds are darker, 255 is white."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    hues = np.array(BASE_COLOURS[1:])
    for index in range(1, 256):
        turn, place = divmod(index - 1, len(hues))
        colours[index] = hues[place] * 0.8**turn
    colours[255] = 255  # never scored
    return colours[:count]
