"""The objects that a system decodes one by one, noted while it segments slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.prompts.objects import Objects

REACH = -4.0  # logit below which an object has no say in whose a pixel is
SAME = 0.5  # IoU of masks from which on two boxes show one object
WITHIN = 0.9  # share of a mask that lies within a surer one's, from which on it shows the same object


@dataclass(frozen=True)
class ObjectMask:
    """An object's mask at the decoder's resolution, cut to where it matters.

    Args:
        index: class.
        confidence: of the detector; NaN where a person gave the box.
        quality: predicted IoU.
        corner: row and column of the part in the map of the square.
        logits: of the part.
        cells_xy: cells of the map for each pixel of the image, along x and y.

    Shape: logits (h, w).
    """

    index: int
    confidence: float
    quality: float
    corner: tuple[int, int]
    logits: np.ndarray
    cells_xy: tuple[float, float]

    @property
    def surer(self) -> tuple[float, float]:
        """What objects are sorted by."""
        return float(np.nan_to_num(self.confidence, nan=1.0)), self.quality

    @property
    def end(self) -> tuple[int, int]:
        """Row and column behind the part."""
        return self.corner[0] + self.logits.shape[0], self.corner[1] + self.logits.shape[1]

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """First row and column of the mask, and one past its last ones."""
        rows, columns = (np.flatnonzero((self.logits > 0).any(axis)) for axis in (1, 0))
        top, left = self.corner
        return top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1

    def shared(self, other: ObjectMask) -> int:
        """Cells that both masks have."""
        low = [max(pair) for pair in zip(self.corner, other.corner, strict=True)]
        high = [min(pair) for pair in zip(self.end, other.end, strict=True)]
        if low[0] >= high[0] or low[1] >= high[1]:
            return 0
        masks = []
        for one in (self, other):
            rows, columns = (slice(low[axis] - one.corner[axis], high[axis] - one.corner[axis]) for axis in (0, 1))
            masks.append(one.logits[rows, columns] > 0)
        return int((masks[0] & masks[1]).sum())

    def over(self, shape: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
        """Where the part lies in an image of `shape`, and its logits there, interpolated."""
        places, cells = [], []
        for axis, scale in ((0, self.cells_xy[1]), (1, self.cells_xy[0])):
            at = (np.arange(shape[axis]) + 0.5) * scale - 0.5 - self.corner[axis]
            inside = np.flatnonzero((at > -1) & (at < self.logits.shape[axis]))
            places.append(slice(inside[0], inside[-1] + 1) if len(inside) else slice(0, 0))
            cells.append(at[inside].clip(0, self.logits.shape[axis] - 1))
        rows, columns = (_weights(at, count) for at, count in zip(cells, self.logits.shape, strict=True))
        return (places[0], places[1]), rows @ self.logits @ columns.T


def _weights(at: np.ndarray, count: int) -> np.ndarray:
    """What linear interpolation at places (n,) takes of `count` values. Shape (n, count)."""
    low = np.floor(at).astype(int)
    share = (at - low).astype(np.float32)
    weights = np.zeros((len(at), count), np.float32)
    rows = np.arange(len(at))
    weights[rows, low] = 1 - share
    weights[rows, np.minimum(low + 1, count - 1)] += share
    return weights


class ObjectWatch:
    """A system that notes the objects of each image, as `SliceInferer` calls it: the image, then its flips.

    Args:
        network: one that `takes_objects`.
        looks: calls for each image, the flips included; the first is of the image as it is.
    """

    def __init__(self, network: Any, looks: int = 1) -> None:
        self.network, self.looks, self.calls = network, looks, 0
        self.images: list[list[ObjectMask] | None] = []

    def __call__(self, image: Tensor, **arguments: Any) -> Tensor:
        """Logits, as the network's own."""
        frame, prediction = self.network.predict_image(image, **arguments)
        if self.calls % self.looks == 0:
            found = prediction.objects
            self.images += [None] * len(image) if found is None else [*masks_of(found, frame)]
        self.calls += 1
        return frame.restore(prediction.logits)

    def parameters(self) -> Iterator[nn.Parameter]:
        """The network's, which tell its device."""
        return self.network.parameters()


def masks_of(objects: Objects, frame: SquareFrame) -> Iterator[list[ObjectMask]]:
    """The objects with boxes of each image of a batch.

    Args:
        objects: in pixels of the square, with masks of all of it.
        frame: where the images lie in it.
    """
    cells = objects.logits.shape[-1] / frame.size  # of the map, a pixel of the square
    cells_xy = (frame.scale_xy[0] * cells, frame.scale_xy[1] * cells)
    objects = objects.map(frame.boxes_back, frame.crop)
    there = (~objects.boxes.isnan().any(-1)).cpu()
    for image in range(len(there)):
        found = []
        for k, place in there[image].nonzero().tolist():
            logits = objects.logits[image, k, place].float().cpu()
            near = logits > REACH
            if not bool((logits > 0).any()):
                continue
            rows, columns = (torch.nonzero(near.any(axis))[:, 0] for axis in (1, 0))
            top, left = max(0, int(rows[0]) - 1), max(0, int(columns[0]) - 1)
            part = logits[top : int(rows[-1]) + 2, left : int(columns[-1]) + 2].numpy()
            sure, quality = (float(told[image, k, place]) for told in (objects.confidence, objects.quality))
            found.append(ObjectMask(k + 1, sure, quality, (top, left), part, cells_xy))
        yield found


def distinct(objects: list[ObjectMask]) -> list[ObjectMask]:
    """The objects without those whose mask is a surer one's of the same class, the surest first."""
    ordered = sorted(objects, key=lambda found: found.surer, reverse=True)
    extents = np.array([one.extent for one in ordered]).reshape(-1, 4)  # of the masks themselves: most do not meet
    areas = [int((one.logits > 0).sum()) for one in ordered]
    kept: list[int] = []
    for place, one in enumerate(ordered):
        before = extents[kept]
        meet = (before[:, :2] < extents[place, 2:]) & (extents[place, :2] < before[:, 2:])
        rivals = [kept[number] for number in np.flatnonzero(meet.all(axis=1))]
        if not any(_same(one, ordered[number], areas[place], areas[number]) for number in rivals):
            kept.append(place)
    return [ordered[number] for number in kept]


def _same(one: ObjectMask, surer: ObjectMask, area: int, surer_area: int) -> bool:
    """Whether a mask shows the object of a surer one."""
    both = one.shared(surer) if one.index == surer.index else 0
    return both > 0 and (both >= WITHIN * area or both >= SAME * (area + surer_area - both))
