"""What a U-Net is told about a task, from its training cases alone: axes, size, patch, mirror images, intensity."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amsam_monai.data.files.loaded_image import spacing_of
from amsam_monai.data.slices import SliceView, world_axes

SIDES = (128, 160, 192, 256, 320, 384, 512, 640, 768, 1024)
KEPT = 0.97  # Dice of the training labels with themselves after going to the size and back
WHOLE = 320  # largest side that is seen at once
PATCH = 256
SMALL_VOXELS, ROUND = 96**3, 3.0  # volumes of at most so many voxels, and sides of at most this ratio, are seen in 3D
MULTIPLE = {2: 32, 3: 8}
BATCH = {2: 4, 3: 2}
WORDS = {0: "left|right|lateral", 1: "anterior|posterior|ventral|dorsal|front|back", 2: "superior|inferior|upper|lower"}


@dataclass(frozen=True)
class Plan:
    """Settings of a U-Net for a task.

    Args:
        dims: 2 for pictures and slices with their neighbours, 3 for volumes.
        side: longest side of a picture or slice, in pixels; None where volumes are seen as stored.
        patch: what the network sees at once.
        mirrors: axes of the patch that may run backwards.
        any_way_up: pictures have no top.
        intensity: arguments of `Intensity`.
        batch: patches of a step.
    """

    dims: int
    side: int | None
    patch: tuple[int, ...]
    mirrors: tuple[int, ...]
    any_way_up: bool
    intensity: dict[str, Any]
    batch: int

    def size(self, shape: Sequence[int]) -> tuple[int, int]:
        """Height and width at which a picture or slice is seen."""
        assert self.side is not None
        height, width = (max(1, round(length * self.side / max(shape))) for length in shape)
        return height, width

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `of_dict` is the way back."""
        return asdict(self)

    @classmethod
    def of_dict(cls, said: dict[str, Any]) -> Plan:
        """From `as_dict`."""
        return cls(**{**said, "patch": tuple(said["patch"]), "mirrors": tuple(said["mirrors"])})


def plan_of(cases: Sequence[dict[str, Any]], names: Sequence[str], *, slices: bool = False) -> Plan:
    """The plan of a task.

    Args:
        cases: training cases as `load` gives them.
        names: of the classes.
        slices: see volumes in 2D whatever their size.
    """
    first = cases[0]["image"]
    pictures = first.ndim == 3
    dims = 2 if pictures or slices or not _small([case["image"] for case in cases]) else 3
    side = None if dims == 3 else side_of(cases)
    upright = pictures and _stands(cases)
    axes = _world(first, dims)
    mirrors = tuple(place for place, world in enumerate(axes) if not _names_direction(names, world))
    if upright:
        mirrors = tuple(place for place in mirrors if place != 0)
    return Plan(
        dims=dims,
        side=side,
        patch=_patch(cases, dims, side),
        mirrors=mirrors,
        any_way_up=pictures and not upright,
        intensity=_intensity(cases, pictures),
        batch=BATCH[dims],
    )


def side_of(cases: Sequence[dict[str, Any]]) -> int:
    """The smallest side at which the training labels are still what they are, at most their images' own."""
    stacks = [_label_slices(case) for case in cases]
    largest = max(max(stack.shape[1:]) for stack in stacks)
    for side in SIDES:
        if side >= largest or np.mean([_kept(stack, side) for stack in stacks]) >= KEPT:
            return side
    return SIDES[-1]


def _kept(labels: Tensor, side: int) -> float:
    """Mean Dice of the classes after going to a size and back. Shape (D, H, W)."""
    height, width = labels.shape[1:]
    scale = side / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    dice = []
    for value in labels.unique().tolist():
        if value:
            mask = (labels == value)[:, None].float()
            small = F.interpolate(mask, size, mode="bilinear", antialias=True, align_corners=False)
            back = F.interpolate((small > 0.5).float(), (height, width), mode="bilinear", align_corners=False) > 0.5
            dice.append(float(2 * (back * mask).sum() / (back.sum() + mask.sum())))
    return float(np.mean(dice)) if dice else 1.0


def _label_slices(case: dict[str, Any]) -> Tensor:
    """Some slices that show a class, or the picture. Shape (D, H, W)."""
    label = case["label"].as_tensor()[0]
    if label.ndim == 2:
        return label[None]
    view = SliceView.of(label.shape, np.asarray(case["image"].affine))
    stack = view.take(label, 0, view.depth)
    there = stack.flatten(1).any(1).nonzero()[:, 0]
    return stack[there[:: max(1, len(there) // 12)]] if len(there) else stack[:1]


def _small(images: Sequence[Tensor]) -> bool:
    """Whether volumes are few voxels, of about the same number and size along all axes."""
    shape = np.median([image.shape[1:] for image in images], axis=0)
    spacing = [spacing_of(np.asarray(image.affine)) for image in images]
    steps = [max(one) / min(one) for one in spacing if one is not None]
    return bool(shape.prod() <= SMALL_VOXELS and shape.max() / shape.min() <= ROUND and max(steps, default=1) <= ROUND)


def _patch(cases: Sequence[dict[str, Any]], dims: int, side: int | None) -> tuple[int, ...]:
    if side is not None and side > WHOLE:
        return (PATCH, PATCH)
    if side is not None:
        shapes = np.array([_plane(case["image"]) for case in cases], dtype=float)
        shapes *= side / shapes.max(axis=1, keepdims=True)
        lengths = shapes.max(axis=0)
    else:
        lengths = np.median([case["image"].shape[1:] for case in cases], axis=0)
    step = MULTIPLE[dims]
    return tuple(int(-(-length // step) * step) for length in lengths.round())


def _plane(image: Tensor) -> tuple[int, int]:
    """(H, W) of a picture or of a volume's slices."""
    if image.ndim == 3:
        return int(image.shape[1]), int(image.shape[2])
    return SliceView.of(image.shape[1:], np.asarray(image.affine)).slice_shape


def _world(image: Tensor, dims: int) -> tuple[int, ...]:
    """For each axis of the patch: 0 left to right, 1 back to front, 2 feet to head."""
    if image.ndim == 3:
        return (2, 0)
    affine = np.asarray(image.affine)
    world, _ = world_axes(None if spacing_of(affine) is None else affine)
    if dims == 3:
        return tuple(world)
    view = SliceView.of(image.shape[1:], affine)
    return tuple(world[axis] for axis in view.axes[1:])


def _names_direction(names: Sequence[str], world: int) -> bool:
    return any(re.search(rf"\b({WORDS[world]})\b", name, re.IGNORECASE) for name in names)


def _stands(cases: Sequence[dict[str, Any]]) -> bool:
    """Whether objects stand on the lower edge of most pictures and hang from the upper edge of few."""
    edges = [case["label"].as_tensor()[0][[0, -1]].bool().any(1) for case in cases]
    top, bottom = torch.stack(edges).float().mean(0).tolist()
    return bottom - top >= 0.4


def _intensity(cases: Sequence[dict[str, Any]], pictures: bool) -> dict[str, Any]:
    """Bit depth of pictures, a window about the labelled voxels of CT, percentiles of other volumes."""
    if pictures:
        return {"mode": "bit_depth"}
    if min(float(case["image"].min()) for case in cases) > -500:
        return {"mode": "percentile"}
    inside = np.concatenate([case["image"].as_tensor()[case["label"].as_tensor() > 0].numpy() for case in cases])
    low, high = np.percentile(inside, (0.5, 99.5))
    margin = 0.1 * (high - low)
    return {"mode": "hu_window", "low": float(low - margin), "high": float(high + margin)}
