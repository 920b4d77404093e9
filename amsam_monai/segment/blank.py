"""Blank slices: where an image is the same everywhere, there is nothing to segment."""

from __future__ import annotations

import torch
from torch import Tensor

from amsam_monai.networks.systems.amsam import ABSENT_LOGIT


def blank(images: Tensor) -> Tensor:
    """Which images have one value in each channel. Shape (B, C, H, W) -> (B,), bool."""
    pixels = images.flatten(2)
    return (pixels.amax(2) == pixels.amin(2)).all(1)


def background_where(empty: Tensor, logits: Tensor) -> Tensor:
    """Logits in which the images that are `empty` are background, whatever the network said of them.

    Nothing is read back from the device.

    Shape: empty (B,), logits (B, K+1, H, W) -> (B, K+1, H, W).
    """
    nothing = torch.full((logits.shape[1],), ABSENT_LOGIT, dtype=logits.dtype, device=logits.device)
    nothing[0] = 0.0
    return torch.where(empty[:, None, None, None], nothing[:, None, None], logits)
