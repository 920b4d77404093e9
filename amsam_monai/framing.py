"""How an image of any size lies in SAM's square input, and the way back. Shared by networks and transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from amsam_monai.square import RESIZE_MODES, Square

__all__ = ["RESIZE_MODES", "SquareFrame"]


@dataclass(frozen=True)
class SquareFrame(Square):
    """An image of height x width inside a size x size square, see `Square`; tensors in and out of it."""

    def image(self, image: Tensor, fill: Sequence[float] | Tensor = 0.0) -> Tensor:  # type: ignore[assignment]
        """Image (B, C, H, W) -> (B, C, S, S), antialiased bilinear; padding takes `fill` (one value, or C)."""
        rows, columns = self.scaled_hw
        if (rows, columns) != (self.height, self.width):
            image = F.interpolate(image, (rows, columns), mode="bilinear", align_corners=False, antialias=True)
        if (rows, columns) == (self.size, self.size):
            return image
        square = image.new_empty((*image.shape[:2], self.size, self.size))
        square[:] = image.new_tensor(fill).reshape(1, -1, 1, 1) if not isinstance(fill, Tensor) else fill.to(image)
        square[..., :rows, :columns] = image
        return square

    def label(self, label: Tensor, fill: int) -> Tensor:
        """Class indices (B, 1, H, W) -> (B, 1, S, S), nearest (half-pixel centres); padding takes `fill`."""
        rows, columns = self.scaled_hw
        if (rows, columns) != (self.height, self.width):
            label = F.interpolate(label.float(), (rows, columns), mode="nearest-exact").to(label.dtype)
        if (rows, columns) == (self.size, self.size):
            return label
        return F.pad(label, (0, self.size - columns, 0, self.size - rows), value=fill)

    def points(self, points_xy: Tensor) -> Tensor:
        """Points (..., 2) from pixels of the image to pixels of the square; NaN stays NaN."""
        return (points_xy + 0.5) * points_xy.new_tensor(self.scale_xy) - 0.5

    def points_back(self, points_xy: Tensor) -> Tensor:
        """Points (..., 2) from pixels of the square to pixels of the image."""
        return (points_xy + 0.5) / points_xy.new_tensor(self.scale_xy) - 0.5

    def boxes(self, box_xyxy: Tensor) -> Tensor:
        """Boxes (..., 4) from pixels of the image to pixels of the square; NaN stays NaN."""
        return box_xyxy * box_xyxy.new_tensor(self.scale_xy * 2)

    def boxes_back(self, box_xyxy: Tensor) -> Tensor:
        """Boxes (..., 4) from pixels of the square to pixels of the image."""
        return box_xyxy / box_xyxy.new_tensor(self.scale_xy * 2)

    def crop(self, logits: Tensor) -> Tensor:
        """Low-resolution maps (B, C, h, w) of the square -> the part that the image covers, padding cut off."""
        rows, columns = self.scaled_hw
        height, width = logits.shape[-2:]
        return logits[..., : -(-rows * height // self.size), : -(-columns * width // self.size)]

    def restore(self, logits: Tensor) -> Tensor:
        """Maps (B, C, h, w) of the square -> (B, C, H, W) of the image, bilinear as in SAM's post-processing."""
        rows, columns = self.scaled_hw
        if logits.shape[-2:] != (self.size, self.size):
            logits = F.interpolate(logits, (self.size, self.size), mode="bilinear", align_corners=False)
        logits = logits[..., :rows, :columns]
        if (rows, columns) != (self.height, self.width):
            logits = F.interpolate(logits, (self.height, self.width), mode="bilinear", align_corners=False)
        return logits
