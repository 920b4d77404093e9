"""A detector that finds nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoDetector(nn.Module):
    """A stand-in until a detector is fitted, so that the network can be built: no box in any image.

    Args:
        num_classes: K, foreground classes.

    Shape: image (B, 3, H, W) -> boxes (B, K, 4), NaN, and confidence (B, K), 0.
    """

    def __init__(self, num_classes: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """No boxes."""
        boxes = torch.full((len(image), self.num_classes, 4), torch.nan, dtype=image.dtype, device=image.device)
        return boxes, boxes.new_zeros(boxes.shape[:2])

    def objects(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """No objects: boxes (B, K, 1, 4), confidence (B, K, 1)."""
        boxes, confidence = self(image)
        return boxes[:, :, None], confidence[:, :, None]
