"""Flipped and turned views of a square sample, each a function of its number, so that embeddings can be kept."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from amsam_monai.keys import IGNORE_INDEX, IMAGE, LABEL
from amsam_monai.transforms.sam_input import SAM_MEAN


def flip_and_turn(array: Tensor, view: int) -> Tensor:
    """View 0..7 of (C, H, W): bit 1 mirrors left and right, bit 2 top and bottom, bit 4 swaps rows and columns."""
    array = array.flip(-1) if view & 1 else array
    array = array.flip(-2) if view & 2 else array
    return array.transpose(-1, -2) if view & 4 else array


class FlippedViews:
    """View number `view` of a sample that `SquareImaged` framed: 2 views mirror, 4 flip both ways, 8 also turn.

    Only the image itself is turned; the padding stays at the bottom and right, where it is at inference.

    Args:
        fill: colour of the padding in [0, 1].

    Raises:
        ValueError: at the call, a view outside 0..7.
    """

    def __init__(self, fill: Sequence[float] = SAM_MEAN) -> None:
        self.fill = tuple(fill)

    def __call__(self, sample: Mapping[Hashable, Any], view: int) -> dict[Hashable, Any]:
        """The sample with image (3, S, S) and label (1, S, S) turned."""
        if not 0 <= view < 8:
            raise ValueError(f"view must lie in 0..7, got {view}.")
        image, label = (torch.as_tensor(sample[key]) for key in (IMAGE, LABEL))
        covered = label[0] != IGNORE_INDEX
        rows, columns = int(covered.any(1).sum()), int(covered.any(0).sum())
        image, label = (flip_and_turn(part[:, :rows, :columns], view) for part in (image, label))
        side = covered.shape[0]
        square = image.new_tensor(self.fill).reshape(-1, 1, 1).repeat(1, side, side)
        square[:, : image.shape[1], : image.shape[2]] = image
        padded = label.new_full((1, side, side), IGNORE_INDEX)
        padded[:, : label.shape[1], : label.shape[2]] = label
        return {**sample, IMAGE: square, LABEL: padded}
