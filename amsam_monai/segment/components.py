"""Connected components of label maps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import ndimage


def keep_largest_components(label: np.ndarray, classes: Iterable[int]) -> None:
    """Set to background, in place, all but the largest connected component of each class; neighbours share a face.

    Of equally large components the first in storage order stays. Works inside the bounding box of the class, so that
    memory follows the object's size.

    Shape: label (H, W) or (I, J, K), class indices.
    """
    for index in classes:
        mask = label == index
        boxes = ndimage.find_objects(mask.view(np.uint8))
        if not boxes:
            continue
        inside, part = mask[boxes[0]], label[boxes[0]]
        components, count = ndimage.label(inside)
        if count > 1:
            sizes = np.bincount(components.reshape(-1))[1:]
            part[inside & (components != 1 + int(sizes.argmax()))] = 0
