"""Losses at the decoder's own resolution: the label comes to the logits, which saves both time and memory."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.keys import IGNORE_INDEX


class LowResLoss(nn.Module):
    """A loss at the decoder's resolution: the label is brought into SAM's square and sampled on the logits' grid.

    The padding becomes IGNORE_INDEX. Without `image_size` the label is resized to the logits directly, which is right
    for square images only.

    Args:
        loss: takes logits and class indices of the same size; ignores IGNORE_INDEX.
        image_size: side of the system's square.
        resize: the system's resize mode.

    Shape: logits (B, K+1, h, w) of the image's part of the square, label (B, 1, H, W) -> what `loss` gives.
    """

    def __init__(self, loss: nn.Module, *, image_size: int | None = None, resize: str = "pad") -> None:
        super().__init__()
        SquareFrame(1, 1, 1, resize)  # refuses an unknown mode
        self.loss = loss
        self.image_size = image_size
        self.resize = resize

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss."""
        rows, columns = logits.shape[-2:]
        if self.image_size is None:
            return self.loss(logits, _nearest(label, rows, columns))
        frame = SquareFrame(label.shape[-2], label.shape[-1], self.image_size, self.resize)
        return self.loss(logits, label_on_grid(label, rows, columns, frame))


def label_on_grid(label: Tensor, rows: int, columns: int, frame: SquareFrame) -> Tensor:
    """The label at the places of a system's low-resolution logits.

    Args:
        label: class indices.
        rows: of the logits.
        columns: of the logits.
        frame: where the image lies in the system's square.

    Shape: label (B, 1, H, W) -> (B, 1, rows, columns).

    Raises:
        ValueError: the logits are not those of this frame.
    """
    side = max(rows, columns)  # the longest side fills the square in either mode
    label = frame.crop(_nearest(frame.label(label, IGNORE_INDEX), side, side))
    if tuple(label.shape[-2:]) != (rows, columns):
        raise ValueError(
            f"logits must be those of a {frame.height}x{frame.width} image in a square of {frame.size} "
            f"({frame.mode}), {label.shape[-2]}x{label.shape[-1]}, got {rows}x{columns}; "
            "give the loss the network's image_size and resize, and ask the network for low_res."
        )
    return label


def _nearest(label: Tensor, rows: int, columns: int) -> Tensor:
    if tuple(label.shape[-2:]) == (rows, columns):
        return label
    return F.interpolate(label.float(), (rows, columns), mode="nearest-exact").to(label.dtype)
