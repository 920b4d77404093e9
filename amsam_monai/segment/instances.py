"""Every object of a label map by a number of its own: by the boxes that prompted it, or by connected parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from amsam_monai.data.slices import SliceView
from amsam_monai.segment.object_masks import ObjectMask, ObjectWatch, distinct

MOST = 65535  # of a 16-bit map
CONTINUES = 0.5  # share of the smaller of two masks in neighbouring slices that both have, for one object


@dataclass(frozen=True)
class Instance:
    """An object.

    Args:
        id: its number in the map, from 1.
        index: its class.
        voxels: of the map that have its number.
        start: first voxel along each axis of the stored image.
        stop: one past the last voxel.
        score: how sure it is there, in [0, 1]: the detector's confidence, or else the mean probability of its class in
            it; of a volume the mean of its slices by area.
        quality: predicted IoU of its mask, in [0, 1]; None where the system decodes no single objects.
    """

    id: int
    index: int
    voxels: int
    start: tuple[int, ...]
    stop: tuple[int, ...]
    score: float
    quality: float | None = None


@dataclass(frozen=True)
class Instances:
    """The objects of an image.

    Args:
        map: 0 nothing, n the object with `id` n.
        rows: the objects in the order of their ids.

    Shape: map as the label map, uint16.
    """

    map: np.ndarray
    rows: list[Instance]


@dataclass
class _Found:
    """What is known of an object so far: class, and sums over its pixels."""

    index: int
    pixels: int = 0
    score: float = 0.0
    quality: float = 0.0
    told: bool = True

    def add(self, pixels: int, score: float, quality: float | None) -> None:
        self.pixels += pixels
        self.score += pixels * score
        self.told &= quality is not None
        self.quality += pixels * (quality or 0.0)


class InstanceWatch:
    """Notes of a segmentation all that `instances` needs; it is called as the network, and observes the logits.

    Args:
        network: a system; of one that `takes_objects` the boxes tell objects apart, of another one connected parts.
        looks: calls of the network for each image, flips included.
    """

    def __init__(self, network: object, looks: int = 1) -> None:
        self.objects = ObjectWatch(network, looks) if getattr(network, "takes_objects", False) else None
        self.network = network if self.objects is None else self.objects
        self._sure: list[np.ndarray] = []

    def observe(self, logits: Tensor, parts: Sequence[Tensor]) -> None:
        """Take in how sure the network is of a batch of slices: logits (n, K+1, H, W)."""
        sure = logits.float().softmax(1).amax(1)
        self._sure.append((sure * 255).round().to(torch.uint8).cpu().numpy())

    def instances(self, label: np.ndarray, view: SliceView | None = None) -> Instances:
        """The objects of the final label map, which may be smaller than what was seen.

        Args:
            label: class indices.
            view: how the volume was cut; None for an image.

        Shape: label (H, W) or (I, J, K).

        Raises:
            ValueError: more objects than 16 bits count.
        """
        planes = label[None] if view is None else view.see(label)
        shown = None if self.objects is None else self.objects.images
        sure = np.concatenate(self._sure)
        if shown is None or all(one is None for one in shown):
            seen, found = number_parts(planes, sure)
        else:
            seen, found = number_objects(planes, [one or [] for one in shown], sure)
        numbered = np.zeros(label.shape, np.uint16)
        (numbered[None] if view is None else view.see(numbered))[...] = seen
        rows = []
        for number, place in enumerate(ndimage.find_objects(numbered), start=1):
            one = found[number - 1]
            start, stop = (tuple(int(getattr(part, end)) for part in place) for end in ("start", "stop"))
            quality = round(one.quality / one.pixels, 4) if one.told else None
            rows.append(Instance(number, one.index, one.pixels, start, stop, round(one.score / one.pixels, 4), quality))
        return Instances(numbered, rows)


def number_parts(planes: np.ndarray, sure: np.ndarray | None = None) -> tuple[np.ndarray, list[_Found]]:
    """Each connected part of each class by a number; neighbours share a face, an edge or a corner.

    Args:
        planes: class indices.
        sure: probability of the class at each voxel, in 255ths; None is 1 throughout.

    Shape: planes and sure (D, H, W) -> (D, H, W).

    Raises:
        ValueError: more objects than 16 bits count.
    """
    numbered = np.zeros(planes.shape, np.int32)
    found: list[_Found] = []
    for index in _classes(planes):
        parts, count = ndimage.label(planes == index, np.ones((3, 3, 3)))
        _check_count(len(found) + count)
        numbered[parts > 0] = parts[parts > 0] + len(found)
        found += _parts(parts, count, index, sure)
    return numbered, found


def number_objects(
    planes: np.ndarray, shown: Sequence[list[ObjectMask]], sure: np.ndarray | None = None
) -> tuple[np.ndarray, list[_Found]]:
    """Each object by a number: a pixel of a class is that object's whose logit is largest there.

    Where a slice has no object of a class, its connected parts are objects. From slice to slice an object goes on as
    the one that shares most pixels with it, and at least half of the smaller of the two.

    Args:
        planes: class indices.
        shown: the objects of each slice.
        sure: see `number_parts`.

    Shape: planes and sure (D, H, W) -> (D, H, W).

    Raises:
        ValueError: more objects than 16 bits count.
    """
    numbered = np.zeros(planes.shape, np.int32)
    found: list[_Found] = []
    for depth, (plane, objects) in enumerate(zip(planes, shown, strict=True)):
        own, here = number_plane(plane, objects, None if sure is None else sure[depth])
        before = numbered[depth - 1] if depth else np.zeros_like(own)
        names = _carried_on(own, here, before, found)
        numbered[depth] = np.array([0, *names], np.int32)[own]
        _check_count(len(found))
    return numbered, found


def number_plane(
    plane: np.ndarray, objects: Sequence[ObjectMask], sure: np.ndarray | None = None
) -> tuple[np.ndarray, list[_Found]]:
    """The objects of one slice; see `number_objects`. Shape (H, W) -> (H, W)."""
    numbered = np.zeros(plane.shape, np.int32)
    found: list[_Found] = []
    kept = distinct(list(objects))
    for index in _classes(plane):
        mask = plane == index
        own = [one for one in kept if one.index == index]
        owner = _owners(mask, own)
        if not owner.any():
            parts, count = ndimage.label(mask, np.ones((3, 3)))
            made = _parts(parts[None], count, index, None if sure is None else sure[None])
        else:
            sizes = np.bincount(owner.ravel(), minlength=len(own) + 1)
            present = np.flatnonzero(sizes[1:]) + 1
            parts = np.searchsorted(present, owner) * (owner > 0) + (owner > 0)
            made = []
            for place in present:
                one, size = own[place - 1], int(sizes[place])
                confidence = float(np.nan_to_num(one.confidence, nan=one.quality))
                made.append(_Found(index))
                made[-1].add(size, confidence, one.quality)
        numbered[parts > 0] = parts[parts > 0] + len(found)
        found += made
    return numbered, found


def _owners(mask: np.ndarray, objects: Sequence[ObjectMask]) -> np.ndarray:
    """Whose each pixel of a mask is: n the n-th object, 0 outside of the mask. Shape (H, W)."""
    best, owner = np.full(mask.shape, -np.inf, np.float32), np.zeros(mask.shape, np.int32)
    for number, one in enumerate(objects, start=1):
        place, logits = one.over((mask.shape[0], mask.shape[1]))
        larger = logits > best[place]
        best[place][larger] = logits[larger]
        owner[place][larger] = number
    owner[~mask] = 0
    orphans = mask & (owner == 0)
    if owner.any() and orphans.any():  # of a mirror image's mask alone: the nearest object's
        nearest = ndimage.distance_transform_edt(owner == 0, return_distances=False, return_indices=True)
        owner[orphans] = owner[tuple(nearest)][orphans]
    return owner


def _carried_on(own: np.ndarray, here: list[_Found], before: np.ndarray, found: list[_Found]) -> list[int]:
    """The number of each object of a slice: that of the slice before which it goes on from, or a new one."""
    names = np.zeros(len(here), int)
    both = (own > 0) & (before > 0)
    code, counts = np.unique(own[both].astype(np.int64) * (len(found) + 1) + before[both], return_counts=True)
    pairs = np.stack(np.divmod(code, len(found) + 1))  # of this slice, of the one before
    sizes = np.bincount(before.ravel(), minlength=len(found) + 1)
    earlier = sorted(set(pairs[1].tolist()))
    shared = np.zeros((len(here), len(earlier)))
    for (mine, theirs), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        same = here[mine - 1].index == found[theirs - 1].index
        if same and count >= CONTINUES * min(here[mine - 1].pixels, sizes[theirs]):
            shared[mine - 1, earlier.index(theirs)] = count
    for row, column in zip(*linear_sum_assignment(-shared), strict=True):
        if shared[row, column]:
            names[row] = earlier[column]
    for place, one in enumerate(here):
        if not names[place]:
            found.append(_Found(one.index))
            names[place] = len(found)
        goes_on = found[names[place] - 1]
        goes_on.add(one.pixels, one.score / one.pixels, one.quality / one.pixels if one.told else None)
    return names.tolist()


def _parts(parts: np.ndarray, count: int, index: int, sure: np.ndarray | None) -> list[_Found]:
    """Connected parts 1..count (D, H, W) of a class as objects."""
    flat = parts.ravel()
    sizes = np.bincount(flat, minlength=count + 1)[1:]
    weights = None if sure is None else sure.ravel() / 255.0
    sums = sizes if weights is None else np.bincount(flat, weights, minlength=count + 1)[1:]
    made = [_Found(index) for _ in range(count)]
    for one, size, total in zip(made, sizes.tolist(), sums.tolist(), strict=True):
        one.add(size, total / size, None)
    return made


def _classes(planes: np.ndarray) -> list[int]:
    return [int(index) for index in np.unique(planes) if index]


def _check_count(count: int) -> None:
    if count > MOST:
        raise ValueError(
            f"an image must have at most {MOST} objects, which 16 bits count, got {count}; leave specks out, say by "
            "largest_component."
        )
