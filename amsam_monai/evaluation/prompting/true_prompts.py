"""The true mask as a person's prompt, and SAM under it: what AutoSAM is compared with."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.systems.autosam import AutoSAM


def point_prompt(label: Tensor) -> Prompts:
    """The point deepest inside the true mask, in pixels of the image. Shape (1, H, W) -> (1, 1, 1, 2)."""
    mask = np.asarray(label)[0] == 1
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Prompts(points_xy=torch.tensor([[[[float(column), float(row)]]]]), point_labels=torch.ones(1, 1, 1))


def mask_prompt(label: Tensor, net: AutoSAM) -> Prompts:
    """The true mask as SAM's mask prompt: logits at four times the grid. Shape (1, H, W) -> (1, 1, 4g, 4g)."""
    return Prompts(mask=net.mask_prompt((torch.as_tensor(np.asarray(label))[None] == 1).float()))


def plain_sam(net: AutoSAM, image: Tensor, *, embedding: Tensor, prompts: Prompts, low_res: bool = False) -> Tensor:
    """SAM's first mask under a person's prompts alone, without g.

    Shape: image (1, 3, H, W) -> logits (1, 2, H, W), or (1, 2, h, w) with `low_res`, see `System.forward`.
    """
    frame = net.frame(image)
    logits, _ = net.decode(embedding, net.sam.no_mask_dense(1), prompts.map(frame.points, frame.boxes))
    logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return frame.crop(logits) if low_res else frame.restore(logits)
