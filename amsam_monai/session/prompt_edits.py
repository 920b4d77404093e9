"""Adding, moving and removing a person's points and boxes, beside the network's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from amsam_monai.session.edits import ClassEdits, Corners, Outline, SessionPoint, bounds, box_edges, changed
from amsam_monai.session.image import Voxel
from amsam_monai.session.open_image import OpenImage

T = TypeVar("T")


class PromptEdits:
    """What a person does to the prompts of an open image; each call is one step. Classes are indices.

    Args:
        opened: the open image.
    """

    def __init__(self, opened: OpenImage) -> None:
        self.opened, self.image = opened, opened.image

    def points(self, index: int, number: int | None = None) -> list[SessionPoint]:
        """Points of a class, in a slice or in all that were segmented or edited."""
        if number is None:
            shown = sorted({*self.opened.edits, *self.opened.results})
            return [point for at in shown for point in self.opened.points(index, at)]
        return self.opened.points(index, self.image.check_slice(number))

    def add_point(self, index: int, voxel: Sequence[float], positive: bool) -> SessionPoint:
        """Add a point to those of its slice."""
        place = self.image.check_voxel(voxel)
        point, number = SessionPoint(place, bool(positive)), self.image.slice_of(place)
        self._give_points(number, index, [*self._editable(index, number), point])
        return point

    def move_point(self, index: int, number: int, at: int, voxel: Sequence[float]) -> SessionPoint:
        """Move point `at` of a class within its slice; it is then the person's."""
        place = self.image.check_voxel(voxel)
        if self.image.slice_of(place) != self.image.check_slice(number):
            raise ValueError(f"a point must stay in its slice {number}, got voxel {place}; remove it and add another.")
        points = self._editable(index, number)
        moved = SessionPoint(place, pick(points, at).positive)
        self._give_points(number, index, [*points[:at], moved, *points[at + 1 :]])
        return moved

    def remove_point(self, index: int, number: int, at: int) -> None:
        """Remove point `at` of a class in a slice."""
        points = self._editable(index, self.image.check_slice(number))
        pick(points, at)
        self._give_points(number, index, [*points[:at], *points[at + 1 :]])

    def set_points(
        self, index: int, points: Iterable[SessionPoint], number: int | None, keep_automatic: bool
    ) -> list[int]:
        """Replace a person's points of a class in every slice, or in one; gives the slices that changed."""
        new: dict[int, list[SessionPoint]] = {}
        for point in points:
            place = self.image.check_voxel(point.voxel)
            new.setdefault(self.image.slice_of(place), []).append(replace(point, voxel=place))
        edits = self.opened.edits
        old = {at for at, classes in edits.items() if index in classes and classes[index].points is not None}
        wanted = {}
        for at in sorted(old | set(new)):
            if number is not None and at != number:
                continue
            own = self._automatic(index, at) if keep_automatic and at in new else []
            listed = (*own, *new[at]) if at in new else None
            if listed != self.opened.edits_of(at).get(index, ClassEdits()).points:
                wanted[at] = changed(self.opened.edits_of(at), index, points=listed)
        self.opened.change(wanted)
        return list(wanted)

    def set_box(self, index: int, corner: Sequence[float], opposite: Sequence[float]) -> list[int]:
        """Give a class a box in each slice from one corner's to the other's; gives those that had another."""
        one, other = self.image.check_voxel(corner), self.image.check_voxel(opposite)
        first, last = sorted((self.image.slice_of(one), self.image.slice_of(other)))
        corners = {at: (self._in_slice(one, at), self._in_slice(other, at)) for at in range(first, last + 1)}
        edits = {at: self._boxed(index, at, box) for at, box in corners.items()}
        wanted = {at: edit for at, edit in edits.items() if edit != self.opened.edits_of(at)}
        self.opened.change(wanted)
        return list(wanted)

    def boxes(self, index: int, number: int) -> list[Corners]:
        """The boxes of a class's objects in a slice, those of the network included once it has been asked."""
        return self.opened.boxes(index, self.image.check_slice(number))

    def object_at(self, index: int, voxel: Sequence[float]) -> int | None:
        """Which of a class's boxes in the voxel's slice holds it, the smallest of several; None where none does."""
        place = self.image.check_voxel(voxel)
        number, (x, y) = self.image.slice_of(place), self.image.pixel(place)
        held = []
        for at, (x1, y1, x2, y2) in enumerate(box_edges(self.image, box) for box in self.boxes(index, number)):
            if x1 <= x + 0.5 <= x2 and y1 <= y + 0.5 <= y2:  # boxes count edges, points centres
                held.append(((x2 - x1) * (y2 - y1), at))
        return min(held)[1] if held else None

    def by_slice(self, boxes: Iterable[Corners]) -> dict[int, list[Corners]]:
        """Boxes as they go into each slice between their corners.

        Raises:
            ValueError: several in one slice for a network that takes one box a class.
        """
        found: dict[int, list[Corners]] = {}
        for corner, opposite in boxes:
            one, other = self.image.check_voxel(corner), self.image.check_voxel(opposite)
            first, last = sorted((self.image.slice_of(one), self.image.slice_of(other)))
            for at in range(first, last + 1):
                found.setdefault(at, []).append((self._in_slice(one, at), self._in_slice(other, at)))
        most = max((len(some) for some in found.values()), default=0)
        if most > 1 and not self.opened.answers.net.takes_objects:
            raise ValueError(f"this network takes one box a class in a slice, got {most}.")
        return found

    def set_boxes(self, index: int, boxes: Iterable[Corners], empty: Iterable[int], keep_automatic: bool) -> list[int]:
        """Replace a person's boxes of a class in every slice; gives the slices that changed."""
        none: dict[int, list[Corners]] = {self.image.check_slice(at): [] for at in empty}
        new = none | self.by_slice(boxes)
        edits, several = self.opened.edits, self.opened.answers.net.takes_objects
        old = {at for at in edits if index in edits[at] and edits[at][index].boxed}
        wanted = {}
        for at in sorted(old | set(new)):
            own = self._own_boxes(index, at) if keep_automatic and several and new.get(at) else []
            wanted[at] = self._with_boxes(index, at, [*own, *new[at]] if at in new else None)
        changes = {at: edit for at, edit in wanted.items() if edit != self.opened.edits_of(at)}
        self.opened.change(changes)
        return list(changes)

    def add_box(self, index: int, corner: Sequence[float], opposite: Sequence[float]) -> list[int]:
        """Add an object's box to those of each slice from one corner's to the other's; gives the slices."""
        one, other = self.image.check_voxel(corner), self.image.check_voxel(opposite)
        first, last = sorted((self.image.slice_of(one), self.image.slice_of(other)))
        wanted = {}
        for at in range(first, last + 1):
            box = (self._in_slice(one, at), self._in_slice(other, at))
            wanted[at] = self._with_objects(index, at, [*self._editable_boxes(index, at), box])
        self.opened.change(wanted)
        return list(wanted)

    def move_box(self, index: int, number: int, at: int, corner: Sequence[float], opposite: Sequence[float]) -> None:
        """Give box `at` of a class's objects other corners, in its slice."""
        number = self.image.check_slice(number)
        places = self.image.check_voxel(corner), self.image.check_voxel(opposite)
        if any(self.image.slice_of(place) != number for place in places):
            raise ValueError(f"a box must stay in its slice {number}, got corners {places}; remove it and add another.")
        boxes = self._editable_boxes(index, number)
        pick(boxes, at, "boxes")
        self.opened.change({number: self._with_objects(index, number, [*boxes[:at], places, *boxes[at + 1 :]])})

    def remove_object(self, index: int, number: int, at: int) -> None:
        """Take box `at` of a class's objects away, also one of the network's."""
        boxes = self._editable_boxes(index, self.image.check_slice(number))
        pick(boxes, at, "boxes")
        self.opened.change({number: self._with_objects(index, number, [*boxes[:at], *boxes[at + 1 :]])})

    def drop_boxes(self, index: int) -> list[int]:
        """Forget a person's boxes of a class in all slices; gives the slices."""
        edits = self.opened.edits
        touched = [at for at in sorted(edits) if index in edits[at] and edits[at][index].boxed]
        none = {"box": None, "box_given": False, "boxes": None, "outlines": ()}
        self.opened.change({at: changed(edits[at], index, **none) for at in touched})
        return touched

    def remove_box(self, index: int, number: int) -> None:
        """Take a class's box away, also the network's own."""
        number = self.image.check_slice(number)
        self.opened.change({number: self._boxed(index, number, None)})

    def clear(self, index: int | None, number: int | None) -> list[int]:
        """Drop a person's prompts and the masks they led to; gives the slices."""
        wanted = None if number is None else self.image.check_slice(number)
        gone = {}
        for at in sorted({*self.opened.edits, *self.opened.painted}):
            there = {*self.opened.edits_of(at), *self.opened.painted_classes(at)}
            classes = there if index is None else there & {index}
            if classes and wanted in (None, at):
                gone[at] = classes
        kept = {at: {k: edit for k, edit in self.opened.edits_of(at).items() if k not in gone[at]} for at in gone}
        self.opened.change(kept)
        for at, classes in gone.items():
            self.opened.forget_painted(at, classes)
            plane = self.opened.plane(at)
            plane[np.isin(plane, list(classes))] = 0
        return list(gone)

    def _editable(self, index: int, number: int) -> list[SessionPoint]:
        """The points of a class that a person can change, the network's own included."""
        if index not in self.opened.edits_of(number):
            self._know(number)
        return self.opened.points(index, number)

    def _automatic(self, index: int, number: int) -> list[SessionPoint]:
        """The network's own points of a class, whatever a person made of them."""
        self._know(number)
        return self.opened.own_points(index, number)

    def _know(self, number: int) -> None:
        """Have the network find its own prompts of a slice."""
        if self.opened.answers.known(number, self.opened.edits_of(number)) is None:
            self.opened.segment(number)

    def _give_points(self, number: int, index: int, points: list[SessionPoint]) -> None:
        self.opened.change({number: changed(self.opened.edits_of(number), index, points=tuple(points))})

    def _boxed(
        self, index: int, number: int, box: tuple[Voxel, Voxel] | None, drawn: Sequence[Outline] = ()
    ) -> dict[int, ClassEdits]:
        """Edits of a slice with a class's one box; lassos that are not what it goes round are dropped."""
        edits = self.opened.edits_of(number)
        outlines = (*edits.get(index, ClassEdits()).outlines, *drawn)
        if not outlines or bounds(self.image, number, outlines) != box:
            outlines = tuple(drawn)
        return changed(edits, index, box=box, box_given=True, boxes=None, outlines=outlines)

    def _editable_boxes(self, index: int, number: int) -> list[Corners]:
        """The boxes of a class's objects that a person can change, the network's own included."""
        if not self.opened.answers.net.takes_objects:
            raise ValueError("this network takes one box a class; use set_box.")
        if not self.opened.edits_of(number).get(index, ClassEdits()).boxed:
            self._know(number)
        return self.opened.boxes(index, number)

    def _own_boxes(self, index: int, number: int) -> list[Corners]:
        """The boxes that the network alone gives a class's objects, whatever a person made of them."""
        if self.opened.answers.automatic(number) is None:
            self.opened.segment(number)
        return self.opened.own_boxes(index, number)

    def _with_boxes(self, index: int, number: int, boxes: Sequence[Corners] | None) -> dict[int, ClassEdits]:
        """Edits of a slice with a class's boxes: as many as there are, or those of the network itself (None)."""
        if boxes is not None and self.opened.answers.net.takes_objects:
            return self._with_objects(index, number, boxes)
        if boxes is not None:
            return self._boxed(index, number, boxes[0] if boxes else None)
        return changed(self.opened.edits_of(number), index, box=None, box_given=False, boxes=None, outlines=())

    def _with_objects(
        self, index: int, number: int, boxes: Sequence[Corners], drawn: Sequence[Outline] = ()
    ) -> dict[int, ClassEdits]:
        """Edits of a slice with a class's boxes; lassos that none of them goes round are dropped."""
        edits = self.opened.edits_of(number)
        outlines = (*edits.get(index, ClassEdits()).outlines, *drawn)
        outlines = tuple(one for one in outlines if bounds(self.image, number, [one]) in boxes)
        return changed(edits, index, box=None, box_given=False, boxes=tuple(boxes), outlines=outlines)

    def _in_slice(self, voxel: Voxel, number: int) -> Voxel:
        return tuple(float(number) if axis == self.image.axis else v for axis, v in enumerate(voxel))  # type: ignore[return-value]


def pick(points: Sequence[T], at: int, what: str = "points") -> T:
    """One of a slice's points, or of others.

    Raises:
        ValueError: there is none of that number.
    """
    if not 0 <= at < len(points):
        raise ValueError(f"index must count one of {len(points)} {what}, got {at}.")
    return points[at]
