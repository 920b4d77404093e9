"""Prompts for a slice from its neighbour's mask."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Edges = tuple[float, float, float, float]


def prompts_of_mask(mask: np.ndarray, margin: float = 2.0) -> tuple[Edges, tuple[float, float]] | None:
    """Box and innermost point of a mask, or None where it is empty.

    The box holds all of the mask and `margin` pixels around it, cut at the image's edge. The point is the pixel
    farthest from the outline of the largest component, so that it lies inside whatever the shape.

    Shape: mask (H, W) -> edges x1, y1, x2, y2 and a point (x, y) in pixels.
    """
    mask = mask.astype(bool)
    if not mask.any():
        return None
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (
        max(columns[0] - margin, 0.0),
        max(rows[0] - margin, 0.0),
        min(columns[-1] + 1 + margin, float(width)),
        min(rows[-1] + 1 + margin, float(height)),
    )
    components, count = ndimage.label(mask)
    largest = components == 1 + int(np.bincount(components.ravel())[1:].argmax()) if count > 1 else mask
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return (float(box[0]), float(box[1]), float(box[2]), float(box[3])), (float(column), float(row))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 1.0 if total == 0 else 2.0 * int((first & second).sum()) / total
