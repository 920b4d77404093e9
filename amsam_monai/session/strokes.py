"""A person's strokes in pixels of a slice: points along a scribble, the inside of a lasso, the track of a brush."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

MAX_PATH = 2000  # places of a stroke
MAX_BRUSH = 201  # pixels
SCRIBBLE_POINTS, LASSO_POINTS = 8, 3
XY = tuple[float, float]
DEEP = 256  # pixels a side in which the depth of a lasso is measured; larger ones are thinned out


def points_along(path: Sequence[XY], most: int, spacing: float) -> list[XY]:
    """Points spread evenly along a path, its ends among them; one alone, in its middle, where it is short.

    Args:
        path: pixels (x, y) in order.
        most: how many points at most.
        spacing: least distance between neighbours, along the path.
    """
    xy = np.asarray(path, dtype=float).reshape(-1, 2)
    along = np.concatenate([[0.0], np.hypot(*np.diff(xy, axis=0).T).cumsum()])
    count = min(most, 1 + int(along[-1] / spacing + 1e-6))
    places = np.linspace(0, along[-1], count) if count > 1 else [along[-1] / 2]
    return [(float(np.interp(at, along, xy[:, 0])), float(np.interp(at, along, xy[:, 1]))) for at in places]


def inside_of(outlines: Sequence[Sequence[XY]], size: tuple[int, int]) -> np.ndarray:
    """Pixels inside closed outlines, those on them included. Shape: `size` (H, W), bool."""
    picture = Image.new("L", (size[1], size[0]))
    pen = ImageDraw.Draw(picture)
    for outline in outlines:
        places = _whole(outline)
        pen.polygon(places, fill=1, outline=1) if len(places) > 2 else pen.line(places * 2, fill=1)
    return np.asarray(picture) > 0


def deepest_points(mask: np.ndarray, most: int) -> list[XY]:
    """Pixels far from the outline of a mask and from each other, the deepest first; none of an empty one.

    Shape: mask (H, W), bool.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    step = -(-max(part.shape) // DEEP)
    thin = np.pad(part[::step, ::step], 1)
    if not thin.any():  # finer than the steps: the first pixel stands for all
        row, column = np.argwhere(part)[0]
        return [(float(columns[0] + column), float(rows[0] + row))]
    found: list[XY] = []
    while len(found) < most and thin.any():
        depth = ndimage.distance_transform_edt(thin)
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        if found and depth[row, column] < 2:  # no room between the others and the outline
            break
        thin[row, column] = False
        found.append((float(columns[0] + (column - 1) * step), float(rows[0] + (row - 1) * step)))
    return found


def track_of(path: Sequence[XY], brush: float, size: tuple[int, int]) -> np.ndarray:
    """Pixels under a round brush that is drawn along a path: those nearer to it than half of `brush`.

    Shape: `size` (H, W), bool.
    """
    picture = Image.new("L", (size[1], size[0]))
    places = _whole(path)
    ImageDraw.Draw(picture).line(places if len(places) > 1 else places * 2, fill=1)
    line = np.asarray(picture) > 0
    rows, columns, reach = np.flatnonzero(line.any(1)), np.flatnonzero(line.any(0)), int(brush / 2) + 1
    if brush <= 2 or not len(rows):
        return line
    window = (
        slice(max(rows[0] - reach, 0), rows[-1] + reach + 1),
        slice(max(columns[0] - reach, 0), columns[-1] + reach + 1),
    )
    track = np.zeros(size, dtype=bool)
    track[window] = ndimage.distance_transform_edt(~line[window]) < brush / 2
    return track


def _whole(path: Sequence[XY]) -> list[tuple[int, int]]:
    return [(round(x), round(y)) for x, y in path]
