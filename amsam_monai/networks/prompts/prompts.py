"""Prompts of a batch of images, and what a system answers to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amsam_monai.networks.prompts.objects import Objects

PARTS = ("points_xy", "point_labels", "box_xyxy", "mask", "object_boxes")  # in the order of the constructor
BOXES = ("box_xyxy", "object_boxes")


@dataclass
class Prompts:
    """Points, boxes and masks per image and class; NaN marks what is absent.

    Args:
        points_xy: pixels of the image, (0, 0) the centre of the top-left pixel.
        point_labels: 1 positive, 0 negative; read only where the point is not NaN.
        box_xyxy: x1, y1, x2, y2 in pixels of the image.
        mask: low-resolution mask logits, as SAM's mask prompt; NaN throughout where a class has none.
        object_boxes: a box for each object of a class, as `box_xyxy`, whose place they take where a class has any; only
            for a system that `takes_objects`.

    Shape: points_xy (B, K, N, 2), point_labels (B, K, N), box_xyxy (B, K, 4), mask (B, K, h, w),
        object_boxes (B, K, M, 4).
    """

    points_xy: Tensor | None = None
    point_labels: Tensor | None = None
    box_xyxy: Tensor | None = None
    mask: Tensor | None = None
    object_boxes: Tensor | None = None

    def check(self, batch: int, classes: int) -> None:
        """Raise ValueError where a part does not fit `batch` images of `classes` foreground classes."""
        if (self.points_xy is None) != (self.point_labels is None):
            raise ValueError("points_xy and point_labels must come together, got only one of them.")
        wanted = {
            "points_xy": (4, (2,)),
            "point_labels": (3, ()),
            "box_xyxy": (3, (4,)),
            "mask": (4, ()),
            "object_boxes": (4, (4,)),
        }
        for name, (dims, tail) in wanted.items():
            part = getattr(self, name)
            if part is None:
                continue
            if (
                part.ndim != dims
                or tuple(part.shape[:2]) != (batch, classes)
                or tuple(part.shape[-len(tail) or dims :]) != tail
            ):
                shape = ", ".join(["B", "K", "...", *map(str, tail)])
                raise ValueError(
                    f"{name} must have shape ({shape}) with B = {batch} and K = {classes}, got {tuple(part.shape)}."
                )
        counts = [0 if part is None else part.shape[2] for part in (self.points_xy, self.point_labels)]
        if counts[0] != counts[1]:
            raise ValueError(
                f"points_xy and point_labels must hold the same number of points, got {counts[0]} and {counts[1]}."
            )

    def as_floats(self) -> Prompts:
        """The same prompts as floating-point numbers, corners of boxes in order: whole numbers cannot be NaN.

        A box without area is left out. Reads nothing back from the device.
        """
        parts = {name: getattr(self, name) for name in PARTS}
        floats = {
            name: part if part is None or part.is_floating_point() else part.float() for name, part in parts.items()
        }
        for name in BOXES:
            if floats[name] is not None:
                first, last = floats[name].split(2, dim=-1)
                ordered = torch.cat([torch.minimum(first, last), torch.maximum(first, last)], dim=-1)
                floats[name] = ordered.masked_fill((first == last).any(-1, keepdim=True), torch.nan)
        return replace(self, **floats)

    def empty_boxes(self) -> list[tuple[int, int]]:
        """Image and class, both from 0, of each box without area."""
        found = []
        for part in (self.box_xyxy, self.object_boxes):
            if part is not None:
                first, last = part.split(2, dim=-1)
                nothing = (first == last).any(-1) & ~part.isnan().any(-1)
                found += [(place[0], place[1]) for place in nothing.nonzero().tolist()]
        return found

    def check_inside(self, size: tuple[int, int], margin: float) -> None:
        """Raise ValueError where a point or box lies beside an image, or is infinite; NaN is absent.

        Args:
            size: rows and columns of the image.
            margin: pixels by which a point may lie outside, since a prompter's cells reach over the edge.
        """
        height, width = size
        for name in PARTS:
            part = getattr(self, name)
            if name != "point_labels" and part is not None and part.is_floating_point() and bool(part.isinf().any()):
                raise ValueError(f"{name} must be finite, or NaN where absent, got infinite values.")
        if self.points_xy is not None:
            (x, y), (right, bottom) = self.points_xy.unbind(-1), self.reach(size)
            if bool(((x < -margin) | (y < -margin) | (x > right - 1 + margin) | (y > bottom - 1 + margin)).any()):
                raise ValueError(f"points_xy must lie in the image of {width} x {height} pixels, got some outside.")
        for name in BOXES:
            part = getattr(self, name)
            if part is None:
                continue
            first, last = part.split(2, dim=-1)
            low, high = torch.minimum(first, last), torch.maximum(first, last)
            end = torch.tensor([width, height], device=low.device)
            if bool(((high < 0) | (low > end)).any()):
                raise ValueError(
                    f"{name} must cover some of the image of {width} x {height} pixels, got one beside it."
                )
        if self.point_labels is not None and self.points_xy is not None:
            shown = ~self.points_xy.isnan().any(dim=-1)
            if bool((shown & (self.point_labels != 0) & (self.point_labels != 1)).any()):
                raise ValueError("point_labels must be 1 or 0 where there is a point, got other values.")

    def reach(self, size: tuple[int, int]) -> tuple[int, int]:
        """Columns and rows within which points may lie, of an image of rows and columns."""
        return size[1], size[0]

    def classes(self) -> Tensor | None:
        """Which classes have a point, a box or a mask; None where there is no part at all. Shape (B, K), bool."""
        parts = (self.points_xy, self.box_xyxy, self.mask, self.object_boxes)
        there = [~part.isnan() for part in parts if part is not None]
        return None if not there else torch.stack([part.flatten(2).any(-1) for part in there]).any(0)

    def map(self, points: Callable[[Tensor], Tensor], boxes: Callable[[Tensor], Tensor]) -> Prompts:
        """The same prompts in another frame."""
        return Prompts(
            None if self.points_xy is None else points(self.points_xy),
            self.point_labels,
            None if self.box_xyxy is None else boxes(self.box_xyxy),
            self.mask,
            None if self.object_boxes is None else boxes(self.object_boxes),
        )

    def to(self, device: torch.device | str) -> Prompts:
        """The same prompts on another device."""
        parts = (getattr(self, name) for name in PARTS)
        return Prompts(*(None if part is None else part.to(device) for part in parts))


@dataclass
class Segmentation:
    """What `segment` answers.

    Args:
        logits: channel 0 is background; softmax over channels gives probabilities.
        prompts: the prompts that were used, in pixels of the image, so that a person can see and change them.
        presence: probability that the class is in the image, in [0, 1]; None where the system does not tell.
        quality: predicted IoU of the class's mask, in [0, 1]; None where the system does not tell.
        objects: the objects of which the classes are the union, boxes in pixels of the image and masks of the part of
            the square that it covers; None where the system decodes no single objects.

    Shape: logits (B, K+1, H, W), presence (B, K), quality (B, K).
    """

    logits: Tensor
    prompts: Prompts
    presence: Tensor | None = None
    quality: Tensor | None = None
    objects: Objects | None = None
