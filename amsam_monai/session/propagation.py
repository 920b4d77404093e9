"""Carrying a corrected slice's masks to its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amsam_monai.segment.propagation import overlap, prompts_of_mask
from amsam_monai.session.edits import SessionPoint, SliceEdits, box_corners, changed
from amsam_monai.session.history import Step
from amsam_monai.session.network_prompts import points_in
from amsam_monai.session.open_image import OpenImage


@dataclass(frozen=True)
class Proposal:
    """What a propagation would give, before it is taken.

    Args:
        reached: per class name, the slices that it would reach.
        masks: class indices of these slices, in the view's orientation.
        after: the slices as they would be.
        revision: of the image that it is for.

    Shape: masks (H, W) each.
    """

    reached: dict[str, list[int]]
    masks: dict[int, np.ndarray]
    after: Step
    revision: int


class Propagation:
    """Carries masks of an open image from slice to slice, as one step. Classes are indices.

    Args:
        opened: the open image.
        min_quality: least predicted IoU, where the system tells it.
        min_overlap: least Dice between a slice's mask and its neighbour's.
    """

    def __init__(self, opened: OpenImage, *, min_quality: float, min_overlap: float) -> None:
        self.opened, self.image = opened, opened.image
        self.min_quality, self.min_overlap = min_quality, min_overlap

    def carry_all(
        self, start: int, indices: Sequence[int] | None = None, max_slices: int | None = None
    ) -> dict[int, list[int]]:
        """Carry classes from slice `start` both ways; the slices reached, per class.

        Args:
            start: the corrected slice.
            indices: by default the classes in its mask.
            max_slices: how far to go each way.
        """
        self.opened.segment(start)
        if indices is None:
            indices = [int(index) for index in np.unique(self.opened.plane(start)) if index]
        touched = {*self.opened.edits, *self.opened.painted}
        edited = {at: {*self.opened.edits_of(at), *self.opened.painted_classes(at)} for at in touched}
        self.opened.history.record(self.opened.capture([start]))
        reached: dict[int, list[int]] = {index: [] for index in indices}
        for index in indices:
            stops = {number for number, classes in edited.items() if index in classes}
            for step in (1, -1):
                reached[index] += self._go(start, step, index, stops, max_slices or self.image.depth)
        return {index: sorted(numbers) for index, numbers in reached.items()}

    def _go(self, start: int, step: int, index: int, stops: set[int], limit: int) -> list[int]:
        """The slices reached in one direction."""
        reached = []
        for number in range(start + step, start + step * (limit + 1), step):
            if not 0 <= number < self.image.depth or number in stops:
                break
            if not self._carry(number - step, number, index):
                break
            reached.append(number)
        return reached

    def _carry(self, source: int, target: int, index: int) -> bool:
        """Segment a class in `target` from its mask in `source`; undone, and False, where it does not hold."""
        mask = self.opened.plane(source) == index
        found = prompts_of_mask(mask)
        if found is None:
            return False
        edges, (x, y) = found
        before = self.opened.capture([target])
        corners = box_corners(self.image, target, edges)
        edits = changed(self.opened.edits_of(target), index, box=corners, box_given=True)
        points = (*self._points_outside(target, edits, index, mask), SessionPoint(self.image.voxel(target, x, y)))
        self.opened.history.widen(before)
        self.opened.store(target, changed(edits, index, points=points))
        result = self.opened.segment(target)
        quality = result.quality.get(self.opened.labels[index], 1.0)
        if quality >= self.min_quality and overlap(mask, result.mask == index) >= self.min_overlap:
            return True
        self.opened.restore(before)
        return False

    def _points_outside(self, number: int, edits: SliceEdits, index: int, mask: np.ndarray) -> list[SessionPoint]:
        """The network's own points against a class that lie outside a mask (H, W).

        Where classes prompt against each other, these are background's points: without them everything is an object.
        """
        if self.opened.answers.net.classes_alone:
            return []
        own = points_in(self.image, self.opened.answers.own_prompts(number, edits), number, index)
        return [point for point in own if not (point.positive or self._holds(mask, point))]

    def _holds(self, mask: np.ndarray, point: SessionPoint) -> bool:
        """Whether a point lies in a mask; one in the padding does not."""
        column, row = (round(place) for place in self.image.pixel(point.voxel))
        return 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and bool(mask[row, column])
