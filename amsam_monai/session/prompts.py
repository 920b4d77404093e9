"""A person's points and boxes in a session, beside the network's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from amsam_monai.session.edits import ClassEdits, SessionPoint, box_corners, changed, without
from amsam_monai.session.image import Voxel
from amsam_monai.session.slice_answers import points_in
from amsam_monai.session.slices import SessionSlices


class SessionPrompts(SessionSlices):
    """Adding, moving and removing prompts of the open image; see `InteractiveSession`, which alone is made."""

    def points(self, label: str | int, slice: int | None = None) -> list[SessionPoint]:
        """Points of a class, those that the network chose included, in the order that `index` counts.

        Args:
            label: name or index of the class.
            slice: the slice; None gives those of all slices that were segmented or edited.
        """
        index = self.label_index(label)
        if slice is None:
            return [point for at in sorted({*self.edits, *self.results}) for point in self.points(label, at)]
        slice = self.image.check_slice(slice)
        edit = self.edits.get(slice, {}).get(index)
        if edit is not None and edit.points is not None:
            return list(edit.points)
        known = self.answers.known(slice, self.edits.get(slice, {}))
        return points_in(self.image, known, slice, index) if known else []

    def box(self, label: str | int, slice: int) -> tuple[Voxel, Voxel] | None:
        """Two corner voxels of a class's box in a slice, a person's or the network's, or None."""
        index, slice = self.label_index(label), self.image.check_slice(slice)
        edit = self.edits.get(slice, {}).get(index)
        if edit is not None and edit.box_given:
            return edit.box
        known = self.answers.known(slice, self.edits.get(slice, {}))
        if known is None or known.box_xyxy is None:
            return None
        edges = known.box_xyxy[0, index - 1]
        return None if edges.isnan().any() else box_corners(self.image, slice, tuple(edges.tolist()))

    def add_point(self, label: str | int, voxel: Sequence[float], positive: bool = True) -> SessionPoint:
        """Add a point of a class, positive inside it or negative outside.

        Raises:
            ValueError: unknown label, or a voxel outside the image.
        """
        index, place = self.label_index(label), self.image.check_voxel(voxel)
        point, slice = SessionPoint(place, bool(positive)), self.image.slice_of(place)
        self._set_points(slice, index, [*self._editable_points(index, slice), point])
        return point

    def move_point(self, label: str | int, slice: int, index: int, voxel: Sequence[float]) -> SessionPoint:
        """Move point `index` of a class (also one of the network's) within its slice; it is then the person's."""
        wanted, place = self.label_index(label), self.image.check_voxel(voxel)
        if self.image.slice_of(place) != self.image.check_slice(slice):
            raise ValueError(f"a point must stay in its slice {slice}, got voxel {place}; remove it and add another.")
        points = self._editable_points(wanted, slice)
        moved = SessionPoint(place, self._pick(points, index).positive)
        self._set_points(slice, wanted, [*points[:index], moved, *points[index + 1 :]])
        return moved

    def remove_point(self, label: str | int, slice: int, index: int) -> None:
        """Remove point `index` of a class, also one of the network's."""
        wanted = self.label_index(label)
        points = self._editable_points(wanted, self.image.check_slice(slice))
        self._pick(points, index)
        self._set_points(slice, wanted, [*points[:index], *points[index + 1 :]])

    def set_points(
        self, label: str | int, points: Iterable[SessionPoint], slice: int | None = None, *, keep_automatic: bool = True
    ) -> list[int]:
        """Replace a person's points of a class in every slice (or in one) by these, as one step.

        Args:
            label: name or index of the class.
            points: any number, in any slices.
            slice: leave other slices as they are, and points in them out.
            keep_automatic: add them to the network's own points; otherwise they are all there are.

        Returns:
            The slices whose points changed.
        """
        index = self.label_index(label)
        new: dict[int, list[SessionPoint]] = {}
        for point in points:
            place = self.image.check_voxel(point.voxel)
            new.setdefault(self.image.slice_of(place), []).append(replace(point, voxel=place))
        old = {at for at, edits in self.edits.items() if index in edits and edits[index].points is not None}
        wanted: dict[int, tuple[SessionPoint, ...] | None] = {}
        for at in sorted(old | set(new)):
            if slice is not None and at != slice:
                continue
            own = self._network_points(index, at) if keep_automatic and at in new else []
            listed = (*own, *new[at]) if at in new else None
            edit = self.edits.get(at, {}).get(index, ClassEdits())
            if listed != edit.points:
                wanted[at] = listed
        if wanted:
            self._record(wanted)
        for at, listed in wanted.items():
            self._store(at, changed(self.edits.get(at, {}), index, points=listed))
        return list(wanted)

    def set_box(self, label: str | int, corner: Sequence[float], opposite: Sequence[float]) -> list[int]:
        """Give a class a box by two opposite corner voxels, in any order, both inside it.

        Corners in different slices give the box to each slice between. Gives the slices that had another box.
        """
        index = self.label_index(label)
        one, other = self.image.check_voxel(corner), self.image.check_voxel(opposite)
        first, last = sorted((self.image.slice_of(one), self.image.slice_of(other)))
        corners = {at: (self._in_slice(one, at), self._in_slice(other, at)) for at in range(first, last + 1)}
        edits = {at: changed(self.edits.get(at, {}), index, box=box, box_given=True) for at, box in corners.items()}
        touched = [at for at in edits if edits[at] != self.edits.get(at, {})]
        if touched:
            self._record(touched)
        for at in touched:
            self._store(at, edits[at])
        return touched

    def drop_boxes(self, label: str | int) -> list[int]:
        """Forget a person's boxes of a class in all slices, as one step; gives the slices."""
        index = self.label_index(label)
        touched = [at for at in sorted(self.edits) if index in self.edits[at] and self.edits[at][index].box_given]
        if touched:
            self._record(touched)
        for at in touched:
            self._store(at, changed(self.edits[at], index, box=None, box_given=False))
        return touched

    def remove_box(self, label: str | int, slice: int) -> None:
        """Take a class's box away, also the network's own."""
        index, slice = self.label_index(label), self.image.check_slice(slice)
        self._record([slice])
        self._store(slice, changed(self.edits.get(slice, {}), index, box=None, box_given=True))

    def clear(self, label: str | int | None = None, slice: int | None = None) -> list[int]:
        """Drop a person's prompts (and the masks they led to) of a class, or all; in a slice, or all. As one step."""
        index = None if label is None else self.label_index(label)
        wanted = [at for at in sorted(self.edits) if slice is None or at == self.image.check_slice(slice)]
        touched = [at for at in wanted if index is None or index in self.edits[at]]
        if touched:
            self._record(touched)
        for at in touched:
            plane = self.image.plane(self.label, at)
            gone = self.edits[at] if index is None else {index}
            plane[np.isin(plane, list(gone))] = 0
            self._store(at, {} if index is None else without(self.edits[at], index))
        return touched

    def _editable_points(self, index: int, slice: int) -> list[SessionPoint]:
        edits = self.edits.get(slice, {})
        if index not in edits and self.answers.known(slice, edits) is None:
            self._segment_slice(slice)
        return self.points(index, slice)

    def _network_points(self, index: int, slice: int) -> list[SessionPoint]:
        """The network's own points of a class in a slice, whatever a person made of them."""
        edits = self.edits.get(slice, {})
        if self.answers.known(slice, edits) is None:
            self._segment_slice(slice)
        known = self.answers.known(slice, edits)
        return points_in(self.image, known, slice, index) if known else []

    @staticmethod
    def _pick(points: list[SessionPoint], index: int) -> SessionPoint:
        if not 0 <= index < len(points):
            raise ValueError(f"index must count one of {len(points)} points, got {index}.")
        return points[index]

    def _in_slice(self, voxel: Voxel, number: int) -> Voxel:
        return tuple(float(number) if axis == self.image.axis else v for axis, v in enumerate(voxel))  # type: ignore[return-value]

    def _set_points(self, slice: int, index: int, points: list[SessionPoint]) -> None:
        self._record([slice])
        self._store(slice, changed(self.edits.get(slice, {}), index, points=tuple(points)))
