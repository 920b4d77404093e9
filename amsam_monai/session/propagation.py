"""Carrying a corrected slice's masks to its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amsam_monai.segment.propagation import overlap, prompts_of_mask
from amsam_monai.session.edits import SessionPoint, box_corners, changed, unpack
from amsam_monai.session.prompts import SessionPrompts


class SessionPropagation(SessionPrompts):
    """A session that carries masks from slice to slice; see `InteractiveSession`, which alone is made."""

    def propagate(
        self,
        from_slice: int,
        *,
        labels: Sequence[str | int] | None = None,
        min_quality: float = 0.6,
        min_overlap: float = 0.5,
        max_slices: int | None = None,
    ) -> dict[str, list[int]]:
        """Carry a corrected slice's masks to its neighbours, both ways, as one step.

        Each mask gives its neighbour a box and a point; the answer goes on if its predicted quality and its overlap
        with the mask it came from hold. Slices that somebody has edited stop it.

        Args:
            from_slice: the corrected slice.
            labels: classes to carry; by default those in the slice's mask.
            min_quality: least predicted IoU, where the system tells it.
            min_overlap: least Dice between a slice's mask and its neighbour's.
            max_slices: how far to go each way.

        Returns:
            Per class name, the slices that were reached.
        """
        start = self.image.check_slice(from_slice)
        if start not in self._fresh:
            self._segment_slice(start)
        present = np.unique(self.image.plane(self.label, start))
        indices = [int(i) for i in present if i] if labels is None else [self.label_index(one) for one in labels]
        reached: dict[str, list[int]] = {self.labels[index]: [] for index in indices}
        edited_before = {at: set(edits) for at, edits in self.edits.items()}
        self._record([start])
        for index in indices:
            for step in (1, -1):
                at, limit = start, max_slices or self.depth
                while 0 <= at + step < self.depth and abs(at + step - start) <= limit:
                    if index in edited_before.get(at + step, ()):
                        break
                    if not self._carry(at, at + step, index, min_quality, min_overlap):
                        break
                    at += step
                    reached[self.labels[index]].append(at)
        return {name: sorted(slices) for name, slices in reached.items()}

    def _carry(self, source: int, target: int, index: int, min_quality: float, min_overlap: float) -> bool:
        """Segment a class in `target` from its mask in `source`; undone, and False, where it does not hold."""
        mask = self.image.plane(self.label, source) == index
        found = prompts_of_mask(mask)
        if found is None:
            return False
        edges, (x, y) = found
        before = self._capture([target])
        points = (SessionPoint(self.image.voxel(target, x, y)),)
        corners = box_corners(self.image, target, edges)
        edits = changed(self.edits.get(target, {}), index, points=points, box=corners, box_given=True)
        self.history.widen(before)
        self._store(target, edits)
        result = self._segment_slice(target)
        quality = result.quality.get(self.labels[index], 1.0)
        if quality >= min_quality and overlap(mask, result.mask == index) >= min_overlap:
            return True
        state = before[target]
        self._store(target, state.edits)
        self.image.plane(self.label, target)[...] = unpack(state.mask, self.image.slice_hw)
        self.results.pop(target, None)
        return False
