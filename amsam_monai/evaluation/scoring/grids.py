"""The grids on which the papers' own scripts score, and the ways there."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import zoom
from torch import Tensor

from amsam_monai.framing import SquareFrame
from amsam_monai.keys import IGNORE_INDEX

AISAM_INPUT, AISAM_GRID = 1024, 256
BLOSAM_INPUT, BLOSAM_GRID = 256, 64
AUTOSAM_INPUT = 1024


def zoom_indices(size: int, target: int) -> np.ndarray:
    """Which of `size` samples `scipy.ndimage.zoom(order=0)` takes for each of `target` ones. Shape (target,)."""
    return zoom(np.arange(size), target / size, order=0)


def aisam_indices(size: int) -> np.ndarray:
    """Rows (or columns) that AI-SAM's evaluation keeps of a label: zoom to 1024, then nearest to 256. Shape (256,)."""
    step = AISAM_INPUT // AISAM_GRID
    return zoom_indices(size, AISAM_INPUT)[step // 2 :: step]


def blosam_indices(size: int) -> np.ndarray:
    """Rows (or columns) that BLO-SAM keeps of a label: zoom to 256, then to 64, both order 0. Shape (64,)."""
    return zoom_indices(size, BLOSAM_INPUT)[zoom_indices(BLOSAM_INPUT, BLOSAM_GRID)]


def sample_plane(array: np.ndarray, indices: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Rows and columns of a picture or of every slice of a volume. Shape (H, W[, D]) -> (rows, columns[, D])."""
    return array[indices[0]][:, indices[1]]


def autosam_label(mask: Tensor, side: int) -> Tensor:
    """A label as AutoSAM's evaluation counts it: 1, 0, and IGNORE_INDEX where resampling left a fraction.

    The mask goes to SAM's 1024 px frame (bilinear, then > 0.5), back to its own size (bilinear, corners aligned), and
    by nearest neighbour to side x side. Fractions never enter the published counts.

    Shape: mask (H, W) -> (side, side), integer.
    """
    frame = SquareFrame(mask.shape[0], mask.shape[1], AUTOSAM_INPUT)
    framed = F.interpolate(
        mask[None, None].float(), frame.scaled_hw, mode="bilinear", align_corners=False, antialias=True
    )
    back = F.interpolate((framed > 0.5).float(), tuple(mask.shape[-2:]), mode="bilinear", align_corners=True)
    small = F.interpolate(back, (side, side), mode="nearest")[0, 0]
    return torch.where(small == 1, 1, torch.where(small == 0, 0, IGNORE_INDEX))


def autosam_probability(logits: Tensor, height: int, width: int, side: int) -> Tensor:
    """Foreground in [0, 1] on AutoSAM's side x side grid: logits scaled from minimum to maximum, no sigmoid.

    Args:
        logits: of the foreground; a square map is taken to cover SAM's padded frame, another one the image alone.
        height: rows of the image.
        width: columns of the image.
        side: of the grid.

    Shape: logits (h, w) -> (side, side).
    """
    low, high = logits.min(), logits.max()
    maps = ((logits - low) / (high - low + 1e-6))[None, None]
    frame = SquareFrame(height, width, AUTOSAM_INPUT)
    rows, columns = frame.scaled_hw
    if logits.shape[0] == logits.shape[1]:
        maps = F.interpolate(maps, (AUTOSAM_INPUT, AUTOSAM_INPUT), mode="bilinear", align_corners=True)
        maps = maps[..., :rows, :columns]
    else:
        maps = F.interpolate(maps, (rows, columns), mode="bilinear", align_corners=True)
    maps = F.interpolate(maps, (height, width), mode="bilinear", align_corners=True)
    return F.interpolate(maps, (side, side), mode="bilinear", align_corners=True)[0, 0]


def autosam_mask(mask: Tensor, side: int) -> Tensor:
    """A predicted mask on AutoSAM's grid, as if it were the probability. Shape (H, W) -> (side, side), 0 or 1."""
    maps = F.interpolate(mask[None, None].float(), (side, side), mode="bilinear", align_corners=True)
    return (maps[0, 0] > 0.5).long()


def resized_logits(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits (N, C, h, w) at another size, bilinear."""
    if tuple(logits.shape[-2:]) == (height, width):
        return logits
    return F.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)
