"""Connected components of label maps."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from scipy import ndimage

from amsam_monai.data.classes import Classes
from amsam_monai.keys import PRED


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


class KeepLargestComponentsd(Transform):
    """`keep_largest_components` on predicted label maps, for a bundle's postprocessing.

    Args:
        classes: says which classes are one piece.

    Shape: pred (1, H, W) or (1, I, J, K), class indices.
    """

    def __init__(self, classes: Classes) -> None:
        self.classes = classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with its prediction cut to the largest components."""
        sample = dict(data)
        if self.classes.largest:
            label = torch.as_tensor(sample[PRED])[0].cpu().numpy().copy()
            keep_largest_components(label, self.classes.largest)
            sample[PRED] = sample[PRED].clone()
            sample[PRED][0] = torch.from_numpy(label).to(sample[PRED])
        return sample
