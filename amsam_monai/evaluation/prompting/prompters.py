"""Where prompts come from when they are to be judged: the ground truth, or any system."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amsam_monai.networks.prompts import Prompts

# image (1, 3, H, W) in [0, 1], masks (C, H, W) of the classes, background first, number of the image
# -> prompts (1, C, ...) in pixels of the image, NaN where a class has none
Prompter = Callable[[Tensor, Tensor, int], Prompts]


class PointPrompter:
    """Points drawn at random from each class's mask, background too (AI-SAM, arXiv:2312.03119, section 3).

    The draws of one seed are nested: the first point of four is the one of one.

    Args:
        count: points per class; a class of fewer pixels gets as many as it has.
        seed: of the draws.
    """

    def __init__(self, count: int, *, seed: int = 0) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}.")
        self.count = count
        self.seed = seed

    def __call__(self, image: Tensor, masks: Tensor, number: int) -> Prompts:
        """Points of one image. Shape: masks (C, H, W) -> points (1, C, N, 2)."""
        points = torch.full((1, len(masks), self.count, 2), torch.nan)
        for index, mask in enumerate(masks):
            pixels = mask.nonzero()  # (P, 2) row, column
            order = np.random.default_rng((self.seed, number, index)).permutation(len(pixels))[: self.count]
            points[0, index, : len(order)] = pixels[torch.from_numpy(order)].flip(-1).float()
        return Prompts(points_xy=points, point_labels=torch.ones(points.shape[:3]))


class BoxPrompter:
    """The tightest box round each class's mask, background too."""

    def __call__(self, image: Tensor, masks: Tensor, number: int) -> Prompts:
        """Boxes of one image. Shape: masks (C, H, W) -> boxes (1, C, 4)."""
        boxes = torch.full((1, len(masks), 4), torch.nan)
        for index, mask in enumerate(masks):
            rows, columns = mask.nonzero(as_tuple=True)
            if len(rows):
                edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                boxes[0, index] = torch.stack(edges).float()
        return Prompts(box_xyxy=boxes)


class SystemPrompter:
    """The prompts that a system finds by itself; background has none.

    Args:
        system: any, such as AISAM with its points or AMSAM with its detector's boxes.
    """

    def __init__(self, system: Any) -> None:
        self.system = system

    def __call__(self, image: Tensor, masks: Tensor, number: int) -> Prompts:
        """Prompts of one image. Shape: image (1, 3, H, W) -> prompts (1, K+1, ...).

        Raises:
            ValueError: the system prompts another number of classes, or gives no points and no boxes.
        """
        found = self.system.segment(image).prompts
        if found.points_xy is None and found.box_xyxy is None:
            raise ValueError("the system must find points or boxes, got neither; its prompts may be dense maps.")
        parts = [_with_background(part, len(masks)) for part in (found.points_xy, found.point_labels, found.box_xyxy)]
        return Prompts(*parts)


def _with_background(part: Tensor | None, classes: int) -> Tensor | None:
    """Prompts with a row of NaN in front. Shape (1, K, ...) -> (1, K+1, ...)."""
    if part is None:
        return None
    if part.shape[1] == classes:
        return part
    if part.shape[1] != classes - 1:
        raise ValueError(f"prompts must be of {classes - 1} classes, got {part.shape[1]}.")
    nothing = torch.full_like(part[:, :1], torch.nan) if part.is_floating_point() else torch.zeros_like(part[:, :1])
    return torch.cat([nothing, part], dim=1)
