"""Several objects of a class: each is a prompt set of its own, and the class is their union."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from amsam_monai.networks.prompts.prompts import Prompts

FILLED = 1 / 3  # of an object's box, by a mask that is meant for it
NOTHING = -torch.inf  # logit of a set that is not there: never the largest


@dataclass
class Objects:
    """The objects of an image, class by class; the last of each class's sets is the class without a box.

    Args:
        boxes: x1, y1, x2, y2 in pixels; NaN where there is no such object, and for the last set.
        confidence: of the detector, in [0, 1]; NaN where a person gave the box, and where there is none.
        quality: predicted IoU of each object's mask, in [0, 1]; NaN where the set is not there.
        logits: low-resolution mask of each object; -inf where the set is not there.

    Shape: boxes (B, K, S, 4), confidence (B, K, S), quality (B, K, S), logits (B, K, S, h, w); S is at least 1.
    """

    boxes: Tensor
    confidence: Tensor
    quality: Tensor
    logits: Tensor

    def map(self, boxes: Callable[[Tensor], Tensor], logits: Callable[[Tensor], Tensor]) -> Objects:
        """The same objects in another frame."""
        return replace(self, boxes=boxes(self.boxes), logits=logits(self.logits))


def as_sets(prompts: Prompts, size: int = 0) -> tuple[Prompts, Tensor]:
    """Each object as a class of its own, and which of them are there.

    The S = M + 1 sets of a class are its M objects, then the class without them: by its one box, or by the learned
    prompt. That last one is there where a class has no object, or where a positive point lies outside of all boxes,
    which is then an object of its own. Other positive points belong to the smallest box that holds them, negative ones
    to all sets of the class. A mask belongs to the objects whose box it fills by a third, cut to that box.

    Args:
        prompts: of B images and K classes.
        size: side of the square in which the boxes lie; read where there is a mask.

    Shape: -> prompts of B images and K * S classes in the order class * S + object, there (B, K, S), bool.
    """
    boxes = prompts.object_boxes
    if boxes is None:
        raise ValueError("object_boxes must be there to be taken apart, got none.")
    given = ~boxes.isnan().any(-1)  # (B, K, M)
    none = ~given.any(-1, keepdim=True)  # (B, K, 1)
    last = torch.full_like(boxes[:, :, :1], torch.nan)
    if prompts.box_xyxy is not None:
        last = torch.where(none[..., None], prompts.box_xyxy[:, :, None], last)
    count = boxes.shape[2] + 1
    there = torch.cat([given, none], dim=2)
    points, labels = prompts.points_xy, prompts.point_labels
    if points is not None and labels is not None:
        owner = _owners(points, boxes)  # (B, K, N), M where none holds the point
        positive = labels > 0.5
        place = torch.arange(count, device=boxes.device)[:, None]
        own = (owner[:, :, None] == place) | ~positive[:, :, None]  # (B, K, S, N)
        outside = positive & (owner == count - 1) & ~points.isnan().any(-1)
        there = torch.cat([given, none | outside.any(-1, keepdim=True)], dim=2)
        points = torch.where(own[..., None], points[:, :, None], torch.nan).flatten(1, 2)
        labels = labels[:, :, None].expand(-1, -1, count, -1).flatten(1, 2)
    every = torch.cat([boxes, last], dim=2)
    mask = None if prompts.mask is None else _cut_masks(prompts.mask, every, none, size).flatten(1, 2)
    every = every.flatten(1, 2)
    return replace(prompts, points_xy=points, point_labels=labels, box_xyxy=every, mask=mask, object_boxes=None), there


def _cut_masks(mask: Tensor, boxes: Tensor, whole: Tensor, size: int) -> Tensor:
    """The mask prompt of each set; NaN where it has none.

    Args:
        mask: logits of each class, NaN throughout where there is none.
        boxes: of each set, in pixels of the square.
        whole: classes whose set without a box takes the mask as it is.
        size: side of the square.

    Shape: mask (B, K, h, w), boxes (B, K, S, 4), whole (B, K, 1) -> (B, K, S, h, w).
    """
    middle = (torch.arange(mask.shape[-1], device=mask.device) + 0.5) * size / mask.shape[-1]
    x1, y1, x2, y2 = boxes[..., None].unbind(-2)  # (B, K, S, 1)
    rows, columns = (middle > y1) & (middle < y2), (middle > x1) & (middle < x2)
    inside = rows[..., None] & columns[..., None, :]  # (B, K, S, h, w); False where NaN
    drawn = mask[:, :, None]
    filled = (inside & (drawn > 0)).flatten(3).sum(-1) >= inside.flatten(3).sum(-1).clamp(min=1) * FILLED
    unboxed = whole & boxes.isnan().any(-1)
    cut = torch.where(inside | unboxed[..., None, None], drawn, -drawn.abs())
    return cut.masked_fill(~(filled | unboxed)[..., None, None], torch.nan)


def _owners(points: Tensor, boxes: Tensor) -> Tensor:
    """The smallest box that holds each point; M where none does. Shape (B, K, N, 2), (B, K, M, 4) -> (B, K, N)."""
    place = points[:, :, :, None] + 0.5  # boxes count edges, points centres
    low, high = boxes[:, :, None, :, :2], boxes[:, :, None, :, 2:]
    holds = ((place >= low) & (place <= high)).all(-1)  # (B, K, N, M); False where NaN
    area = (high - low).prod(-1).expand_as(holds).masked_fill(~holds, torch.inf)
    if not boxes.shape[2]:
        return torch.zeros(points.shape[:3], dtype=torch.long, device=points.device)
    smallest = area.min(-1)
    return smallest.indices.masked_fill(smallest.values.isinf(), boxes.shape[2])


def union(objects: Objects) -> tuple[Tensor, Tensor]:
    """Logits of each class, the largest of its objects' at every pixel, and its predicted IoU: the mean by area.

    Shape: -> (B, K, h, w), (B, K).
    """
    logits = objects.logits.amax(dim=2)
    there = ~objects.quality.isnan()
    area = (objects.logits > 0).flatten(3).sum(-1) * there + 1e-6 * there  # of empty masks the plain mean
    mean = (objects.quality.nan_to_num() * area).sum(-1) / area.sum(-1).clamp(min=1e-12)
    return logits, mean.masked_fill(~there.any(-1), torch.nan)
