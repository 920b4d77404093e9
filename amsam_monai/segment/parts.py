"""Parts of a class: how many pieces of some size, and how far from each other."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.sparse.csgraph import minimum_spanning_tree

SOME_SIZE = 0.05  # of the largest part; smaller ones are specks
MOST_PARTS = 500  # the largest that are looked at


def parts_of(mask: np.ndarray) -> list[tuple[slice, ...]]:
    """Bounding boxes of the parts of some size, the largest first; neighbours share a face, an edge or a corner.

    Works inside the bounding box of the mask, so that time and memory follow the object's size.

    Shape: mask (H, W) or (D, H, W), bool.
    """
    boxes = ndimage.find_objects(mask.view(np.uint8))
    if not boxes or boxes[0] is None:
        return []
    components, count = ndimage.label(mask[boxes[0]], np.ones((3,) * mask.ndim))
    if count == 1:
        return [boxes[0]]
    sizes = np.bincount(components.reshape(-1))[1:]
    found = ndimage.find_objects(components)
    order = [place for place in np.argsort(-sizes, kind="stable") if sizes[place] >= SOME_SIZE * sizes.max()]
    return [_moved(found[place], boxes[0]) for place in order[:MOST_PARTS]]


def _moved(box: tuple[slice, ...], into: tuple[slice, ...]) -> tuple[slice, ...]:
    """A box inside another as a box of the whole."""
    return tuple(slice(one.start + two.start, one.stop + two.start) for one, two in zip(box, into, strict=True))


def widest_gap(boxes: list[tuple[slice, ...]], lengths: tuple[int, ...]) -> float:
    """The longest step when one goes from part to part by the shortest steps, as a share of the image; 0 for one part.

    A step leads from box to box; its length along each axis is a share of that in `lengths`.
    """
    if len(boxes) < 2:
        return 0.0
    starts, stops = (np.array([[getattr(one, end) for one in box] for box in boxes]) for end in ("start", "stop"))
    apart = np.maximum(starts[:, None] - stops[None], starts[None] - stops[:, None]).clip(0) / np.array(lengths)
    steps = np.linalg.norm(apart, axis=2)
    return float(minimum_spanning_tree(steps + 1e-9).max())
