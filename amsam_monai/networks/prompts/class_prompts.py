"""Prompts of classes that prompt against each other: a point for one class is a point against all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from amsam_monai.networks.prompts.prompts import PARTS, Prompts

# Points nearer than this, in pixels of the square, are one: half a cell, which forgives rounding to voxels.
SAME_POINT = 8.0


@dataclass
class ClassPrompts(Prompts):
    """Prompts that also say which classes are there, and where automatic points are wanted.

    Args:
        present: 1 the class is there, 0 it is not, NaN let the network tell; None is NaN throughout.
        automatic: whether the network adds its own points: for all classes, or for each, background first. To take an
            automatic point away or to move it, hand the answer's points back, changed, with `automatic=False`.

    Shape: present (B, K), automatic (B, K+1), others as in `Prompts`.
    """

    present: Tensor | None = None
    automatic: bool | Tensor = True

    def check(self, batch: int, classes: int) -> None:
        """Raise ValueError where a part does not fit `batch` images of `classes` foreground classes."""
        super().check(batch, classes)
        wanted = {"present": (batch, classes), "automatic": (batch, classes + 1)}
        for name, shape in wanted.items():
            part = getattr(self, name)
            if isinstance(part, Tensor) and tuple(part.shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(part.shape)}.")

    def reach(self, size: tuple[int, int]) -> tuple[int, int]:
        """As `Prompts.reach`; points that an answer hands back may lie in the padding of SAM's square."""
        return super().reach(size) if self.automatic is True else (max(size), max(size))

    def map(self, points: Callable[[Tensor], Tensor], boxes: Callable[[Tensor], Tensor]) -> ClassPrompts:
        """The same prompts in another frame."""
        return _with_choice(super().map(points, boxes), self.present, self.automatic)

    def to(self, device: torch.device | str) -> ClassPrompts:
        """The same prompts on another device."""
        present = None if self.present is None else self.present.to(device)
        automatic = self.automatic.to(device) if isinstance(self.automatic, Tensor) else self.automatic
        return _with_choice(super().to(device), present, automatic)


def _with_choice(prompts: Prompts, present: Tensor | None, automatic: bool | Tensor) -> ClassPrompts:
    parts = {name: getattr(prompts, name) for name in PARTS}
    return ClassPrompts(**parts, present=present, automatic=automatic)


def class_presence(label: Tensor, classes: int) -> Tensor:
    """1 where a label has a class, else 0. Shape (B, 1, H, W) class indices -> (B, K)."""
    index = torch.arange(1, classes + 1, device=label.device)
    return (label.flatten(1)[:, None] == index[:, None]).any(-1).float()


def stated_presence(prompts: Prompts, like: Tensor) -> Tensor:
    """What a person said of each class: 1 there, 0 not there, NaN nothing. Shape (B, K), as `like`.

    A positive point, a box or a mask says that the class is there, unless `present` says otherwise.
    """
    stated = torch.full_like(like, torch.nan)
    if isinstance(prompts, ClassPrompts) and prompts.present is not None:
        stated = prompts.present.to(like)
    prompted = has_positive(prompts, like)
    if prompts.box_xyxy is not None:
        prompted |= ~prompts.box_xyxy.isnan().any(-1)
    if prompts.mask is not None:
        prompted |= has_mask(prompts.mask)
    return torch.where(stated.isnan() & prompted, 1.0, stated)


def wants_none_automatic(prompts: Prompts) -> bool:
    """Whether no class at all wants automatic points; reads the values of a choice for each class."""
    automatic = prompts.automatic if isinstance(prompts, ClassPrompts) else True
    return not (automatic.any() if isinstance(automatic, Tensor) else automatic)


def wants_automatic(prompts: Prompts, like: Tensor) -> Tensor:
    """Where automatic points are wanted. Shape (B, C), background first, as `like`."""
    automatic = prompts.automatic if isinstance(prompts, ClassPrompts) else True
    if isinstance(automatic, Tensor):
        return automatic.to(device=like.device, dtype=torch.bool)
    every = torch.ones_like(like, dtype=torch.bool)
    return every if automatic else ~every


def has_positive(prompts: Prompts, like: Tensor) -> Tensor:
    """Which classes have a positive point. Shape (B, K)."""
    if prompts.points_xy is None or prompts.point_labels is None:
        return torch.zeros(like.shape, dtype=torch.bool, device=like.device)
    return (~prompts.points_xy.isnan().any(-1) & (prompts.point_labels > 0.5)).any(-1)


def has_mask(mask: Tensor) -> Tensor:
    """Which classes have a mask prompt. Shape (B, K, h, w) -> (B, K)."""
    return ~mask.isnan().flatten(2).any(-1)


def point_signs(points_xy: Tensor, point_labels: Tensor) -> Tensor:
    """What each point of a person means to each class: 1 for it, -1 against it, 0 nothing.

    A class's positive point is for it and against all others, background too. A negative point is against its class
    alone; one that is negative for every class is a point for background.

    Shape: points_xy (B, K, P, 2), point_labels (B, K, P) -> (B, K+1, K, P), background first.
    """
    given = ~points_xy.isnan().any(-1)
    positive = (given & (point_labels > 0.5)).long()[:, None]  # (B, 1, K, P)
    negative = given & (point_labels <= 0.5)
    classes = points_xy.shape[1]
    own = torch.eye(classes, device=points_xy.device, dtype=torch.long)[None, :, :, None]  # (1, K, K, 1)
    foreground = positive * (2 * own - 1) - negative.long()[:, None] * own
    background = -positive
    background[:, 0, 0] += _negative_everywhere(points_xy, negative).long()  # once, not once per class
    return torch.cat([background, foreground], dim=1)


def _negative_everywhere(points_xy: Tensor, negative: Tensor) -> Tensor:
    """Which negative points of the first class are negative points of every class. Shape (B, P)."""
    first = points_xy[:, :1, :, None]  # (B, 1, P, 1, 2)
    same = (first - points_xy[:, :, None]).abs().amax(-1) < SAME_POINT  # (B, K, P, P); False where NaN
    return (same & negative[:, :, None]).any(-1).all(1) & negative[:, 0]


def used_prompts(points_xy: Tensor, prompts: Prompts, boxes: Tensor | None, automatic: Tensor) -> ClassPrompts:
    """What was used, ready to be changed and handed in again.

    Each class has its own automatic points, then, as negative points, background's; then the person's.

    Args:
        points_xy: automatic points, background first.
        prompts: the person's.
        boxes: that confined the points.
        automatic: whose automatic points were used.

    Shape: points_xy (B, C, N, 2), boxes (B, K, 4), automatic (B, C).
    """
    xy = points_xy.masked_fill(~automatic[..., None, None], torch.nan)  # (B, C, N, 2)
    background = xy[:, :1].expand(-1, xy.shape[1] - 1, -1, -1)
    xy = torch.cat([xy[:, 1:], background], dim=2)
    labels = torch.ones_like(xy[..., 0])
    labels[:, :, background.shape[2] :] = 0
    if prompts.points_xy is not None and prompts.point_labels is not None:
        xy = torch.cat([xy, prompts.points_xy], dim=2)
        labels = torch.cat([labels, prompts.point_labels.to(labels)], dim=2)
    present = prompts.present if isinstance(prompts, ClassPrompts) else None
    return ClassPrompts(xy, labels, boxes, prompts.mask, present=present, automatic=False)
