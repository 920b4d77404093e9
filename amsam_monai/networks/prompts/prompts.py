"""Prompts of a batch of images, and what a system answers to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class Prompts:
    """Points, boxes and masks per image and class; NaN marks what is absent.

    Args:
        points_xy: pixels of the image, (0, 0) the centre of the top-left pixel.
        point_labels: 1 positive, 0 negative; read only where the point is not NaN.
        box_xyxy: x1, y1, x2, y2 in pixels of the image.
        mask: low-resolution mask logits, as SAM's mask prompt; NaN throughout where a class has none.

    Shape: points_xy (B, K, N, 2), point_labels (B, K, N), box_xyxy (B, K, 4), mask (B, K, h, w).
    """

    points_xy: Tensor | None = None
    point_labels: Tensor | None = None
    box_xyxy: Tensor | None = None
    mask: Tensor | None = None

    def check(self, batch: int, classes: int) -> None:
        """Raise ValueError where a part does not fit `batch` images of `classes` foreground classes."""
        if (self.points_xy is None) != (self.point_labels is None):
            raise ValueError("points_xy and point_labels must come together, got only one of them.")
        wanted = {"points_xy": (4, (2,)), "point_labels": (3, ()), "box_xyxy": (3, (4,)), "mask": (4, ())}
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

        Reads nothing back from the device.
        """
        parts = {name: getattr(self, name) for name in ("points_xy", "point_labels", "box_xyxy", "mask")}
        floats = {
            name: part if part is None or part.is_floating_point() else part.float() for name, part in parts.items()
        }
        if floats["box_xyxy"] is not None:
            first, last = floats["box_xyxy"].split(2, dim=-1)
            floats["box_xyxy"] = torch.cat([torch.minimum(first, last), torch.maximum(first, last)], dim=-1)
        return replace(self, **floats)

    def check_inside(self, size: tuple[int, int], margin: float) -> None:
        """Raise ValueError where a point or box lies beside an image, or is infinite; NaN is absent.

        Args:
            size: rows and columns of the image.
            margin: pixels by which a point may lie outside, since a prompter's cells reach over the edge.
        """
        height, width = size
        for name, part in (("points_xy", self.points_xy), ("box_xyxy", self.box_xyxy), ("mask", self.mask)):
            if part is not None and part.is_floating_point() and bool(part.isinf().any()):
                raise ValueError(f"{name} must be finite, or NaN where absent, got infinite values.")
        if self.points_xy is not None:
            x, y = self.points_xy.unbind(-1)
            if bool(((x < -margin) | (y < -margin) | (x > width - 1 + margin) | (y > height - 1 + margin)).any()):
                raise ValueError(f"points_xy must lie in the image of {width} x {height} pixels, got some outside.")
        if self.box_xyxy is not None:
            first, last = self.box_xyxy.split(2, dim=-1)
            low, high = torch.minimum(first, last), torch.maximum(first, last)
            end = torch.tensor([width, height], device=low.device)
            if bool(((high < 0) | (low > end)).any()):
                raise ValueError(
                    f"box_xyxy must cover some of the image of {width} x {height} pixels, got one beside it."
                )
        if self.point_labels is not None and self.points_xy is not None:
            shown = ~self.points_xy.isnan().any(dim=-1)
            if bool((shown & (self.point_labels != 0) & (self.point_labels != 1)).any()):
                raise ValueError("point_labels must be 1 or 0 where there is a point, got other values.")

    def map(self, points: Callable[[Tensor], Tensor], boxes: Callable[[Tensor], Tensor]) -> Prompts:
        """The same prompts in another frame."""
        return Prompts(
            None if self.points_xy is None else points(self.points_xy),
            self.point_labels,
            None if self.box_xyxy is None else boxes(self.box_xyxy),
            self.mask,
        )

    def to(self, device: torch.device | str) -> Prompts:
        """The same prompts on another device."""
        return Prompts(
            *(
                None if part is None else part.to(device)
                for part in (self.points_xy, self.point_labels, self.box_xyxy, self.mask)
            )
        )


@dataclass
class Segmentation:
    """What `segment` answers.

    Args:
        logits: channel 0 is background; softmax over channels gives probabilities.
        prompts: the prompts that were used, in pixels of the image, so that a person can see and change them.
        presence: probability that the class is in the image, in [0, 1]; None where the system does not tell.
        quality: predicted IoU of the class's mask, in [0, 1]; None where the system does not tell.

    Shape: logits (B, K+1, H, W), presence (B, K), quality (B, K).
    """

    logits: Tensor
    prompts: Prompts
    presence: Tensor | None = None
    quality: Tensor | None = None
