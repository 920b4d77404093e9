"""Prompts of classes that prompt against each other: a point for one class is a point against all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from amsam_monai.networks.prompts import Prompts

# Coordinates nearer than this, in pixels, are one point.
SAME_POINT = 1e-2


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

    def map(self, points: Callable[[Tensor], Tensor], boxes: Callable[[Tensor], Tensor]) -> ClassPrompts:
        """The same prompts in another frame."""
        return _with_choice(super().map(points, boxes), self.present, self.automatic)

    def to(self, device: torch.device | str) -> ClassPrompts:
        """The same prompts on another device."""
        present = None if self.present is None else self.present.to(device)
        automatic = self.automatic.to(device) if isinstance(self.automatic, Tensor) else self.automatic
        return _with_choice(super().to(device), present, automatic)


def _with_choice(prompts: Prompts, present: Tensor | None, automatic: bool | Tensor) -> ClassPrompts:
    return ClassPrompts(
        prompts.points_xy, prompts.point_labels, prompts.box_xyxy, prompts.mask, present=present, automatic=automatic
    )


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


def wants_automatic(prompts: Prompts, like: Tensor) -> Tensor:
    """Where automatic points are wanted. Shape (B, C), background first, as `like`."""
    automatic = prompts.automatic if isinstance(prompts, ClassPrompts) else True
    if isinstance(automatic, Tensor):
        return automatic.to(device=like.device, dtype=torch.bool)
    return torch.full(like.shape, automatic, device=like.device)


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


def box_cells(box_xyxy: Tensor, grid: int, size: int) -> Tensor:
    """The cells whose middle pixel lies in a class's box; at least the nearest; all where there is no box.

    Args:
        box_xyxy: pixels of the square; NaN is no box.
        grid: cells a side.
        size: pixels a side.

    Shape: box_xyxy (B, K, 4) -> (B, K, grid, grid), bool.
    """
    pixel = ((torch.arange(grid, device=box_xyxy.device) + 0.5) * size / grid).floor() + 0.5
    x1, y1, x2, y2 = box_xyxy[..., None].unbind(-2)  # (B, K, 1) each
    columns, rows = (pixel >= x1) & (pixel < x2), (pixel >= y1) & (pixel < y2)
    inside = rows[..., None] & columns[..., None, :]
    column, row = ((pixel - (low + high) / 2).abs().argmin(-1) for low, high in ((x1, x2), (y1, y2)))
    nearest = F.one_hot(row * grid + column, grid * grid).bool().unflatten(-1, (grid, grid))
    missed = ~inside.flatten(2).any(-1)[..., None, None]
    absent = box_xyxy.isnan().any(-1)[..., None, None]
    return inside | (missed & nearest) | absent


def box_keeps(box_xyxy: Tensor, side: int, size: int) -> Tensor:
    """Cells of a mask that touch a class's box, and one more all round, so that none inside is interpolated away.

    Shape: box_xyxy (B, K, 4) in pixels -> (B, K, side, side), bool; all True where there is no box.
    """
    step = size / side
    cell = torch.arange(side, device=box_xyxy.device) * step  # left or upper edge
    x1, y1, x2, y2 = box_xyxy[..., None].unbind(-2)
    columns = (cell + 2 * step > x1) & (cell - step < x2)
    rows = (cell + 2 * step > y1) & (cell - step < y2)
    return (rows[..., None] & columns[..., None, :]) | box_xyxy.isnan().any(-1)[..., None, None]


def grow_boxes(box_xyxy: Tensor, share: float, size: int) -> Tensor:
    """Boxes grown by a share of their sides on each side, within the square. Shape (..., 4); NaN stays NaN."""
    margin = (box_xyxy[..., 2:] - box_xyxy[..., :2]) * share
    grown = torch.cat([box_xyxy[..., :2] - margin, box_xyxy[..., 2:] + margin], dim=-1)
    return grown.clamp(0, size)


def group_by_length(tokens: Tensor, valid: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows with equally many valid tokens, and these tokens.

    Shape: tokens (n, T, D), valid (n, T) -> pairs of indices (m,) and tokens (m, t, D).
    """
    counts = valid.sum(-1)
    order = (~valid).to(torch.int8).argsort(dim=-1, stable=True)  # valid first, in their order
    tokens = tokens.gather(1, order[..., None].expand_as(tokens))
    groups = []
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero()[:, 0]
        groups.append((rows, tokens[rows, :count]))
    return groups
