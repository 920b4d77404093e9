"""A two-class label from a picture, at its image's size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.transforms import Transform

from amsam_monai.keys import IMAGE, LABEL

ASPECT_TOLERANCE = 0.02


class BinaryLabeld(Transform):
    """Give the label 1 for foreground and 0 for background, and its image's height and width.

    Pictures keep masks as 0 and 255, or 0 and 1, and JPEG adds noise between: foreground is what lies above half of
    the largest value. A mask of another size but the same aspect is resized with nearest neighbours.

    Shape: image (C, H, W), label (1, h, w) -> label (1, H, W), int64.

    Raises:
        ValueError: the label's aspect is another one.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with its label replaced."""
        label, size = torch.as_tensor(data[LABEL]), tuple(data[IMAGE].shape[-2:])
        label = (label > label.max() / 2).long()
        if tuple(label.shape[-2:]) != size:
            aspects = size[1] / size[0], label.shape[-1] / label.shape[-2]
            if abs(aspects[0] / aspects[1] - 1) > ASPECT_TOLERANCE:
                raise ValueError(
                    f"label must have its image's aspect, got {tuple(label.shape[-2:])} for an image of {size}; "
                    "they may not belong together."
                )
            label = F.interpolate(label[None].float(), size, mode="nearest-exact")[0].long()
        return {**data, LABEL: label}
