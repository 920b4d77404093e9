"""Boxes of the slice on the views: numbered, chosen, moved, resized and deleted one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amsam_monai.annotate.plane_views import PlaneViews
from amsam_monai.data.slices import SliceView
from amsam_monai.session.session import InteractiveSession

CORNER, EDGE = 10.0, 5.0  # screen pixels within which a place hits a corner or an edge
XY = tuple[float, float]


@dataclass(frozen=True)
class BoxHit:
    """What of a box is under a place on the screen.

    Args:
        index: class.
        at: place among the class's boxes.
        part: "tag", "edge", or a corner: 0 top left, 1 top right, 2 bottom left, 3 bottom right.
    """

    index: int
    at: int
    part: str | int


class BoxViews(PlaneViews):
    """Views whose boxes a person can take hold of: a corner changes the size, the number moves the whole box.

    Args:
        session: see `PlaneViews`.
        side: see `PlaneViews`.
    """

    def __init__(self, session: InteractiveSession, *, side: int = 640) -> None:
        super().__init__(session, side=side)
        self._chosen: tuple[int, int, int] | None = None  # class, slice and place of the box that keys are for

    @property
    def chosen(self) -> int | None:
        """See `PlaneViews.chosen`; None where none is chosen."""
        if self._chosen is None or self._chosen[:2] != (self.label, self.slice):
            return None
        return self._chosen[2] if self._chosen[2] < len(self.session.boxes(self.label, self.slice)) else None

    def choose_box(self, at: int) -> str:
        """Choose a box of the current class in this slice, from 0, for the keys and to see its corners."""
        name, count = self.session.labels[self.label], len(self.session.boxes(self.label, self.slice))
        if not 0 <= at < count:
            return f"{name} has {count} box{'es' * (count != 1)} in this slice."
        self._chosen = self.label, self.slice, at
        return f"Box {at + 1} of {name}: drag a corner or its number, press Delete to drop it."

    def remove_box(self, at: int | None = None) -> str:
        """Delete a box of the current class in this slice, the chosen one by default; says what happened."""
        at = self.chosen if at is None else at
        if at is None:
            return "Choose a box first: click its number, or its line in the list."
        return self._remove_box(self.label, at)

    def _remove_box(self, index: int, at: int) -> str:
        session = self.session
        session.remove_box(index, self.slice, at if session.net.takes_objects else None)
        self._chosen = None
        self.update()
        return f"Deleted box {at + 1} of {session.labels[index]}."

    def boxes(self) -> list[dict[str, Any]]:
        """A line for each box of the current class in this slice: number, size, quality, points and whether chosen."""
        session, number = self.session, self.slice
        quality, chosen = session.box_quality(self.label, number), self.chosen
        inside = [p for p in session.points(self.label, number) if p.positive and not p.automatic]
        owners = [session.object_at(self.label, point.voxel) for point in inside]
        rows = []
        for at, box in enumerate(self._box_marks(session.image.view, self.label)):
            x1, y1, x2, y2 = box.edges
            size = f"{round(x2 - x1)} × {round(y2 - y1)}"
            row = {"number": at + 1, "size": size, "quality": quality[at], "points": owners.count(at)}
            rows.append({**row, "chosen": at == chosen, "index": self.label})
        return rows

    def hit_box(self, plane: str, x: float, y: float) -> BoxHit | None:
        """The box under a place on the screen: its number or a corner, else an edge; the current class first."""
        view = self.own_view(plane)
        if view is None and self.session.image.view is not None:
            return None
        canvas, found = self.canvas(plane), []
        for index in self.session.labels:
            for at, box in enumerate(self._box_marks(view, index)):
                left, top, right, bottom = canvas.rectangle(box.edges)
                corners = ((left, top), (right, top), (left, bottom), (right, bottom))
                far = [max(abs(cx - x), abs(cy - y)) for cx, cy in corners]
                tag = canvas.tag(box.edges)
                part: str | int | None = None
                if box.number is not None and tag[0] <= x <= tag[2] and tag[1] <= y <= tag[3]:
                    part, reach = "tag", 0.0
                elif min(far) <= CORNER:
                    part, reach = far.index(min(far)), min(far)
                elif left - EDGE <= x <= right + EDGE and top - EDGE <= y <= bottom + EDGE:
                    part, reach = "edge", CORNER + min(abs(x - left), abs(x - right), abs(y - top), abs(y - bottom))
                if part is not None and reach <= CORNER + EDGE:
                    found.append(((index != self.label, reach), BoxHit(index, at, part)))
        return min(found, key=lambda entry: entry[0])[1] if found else None

    def box_around(self, plane: str, x: float, y: float) -> int | None:
        """The smallest box of the current class that holds a place on the screen."""
        view, pixel = self.own_view(plane), self.canvas(plane).pixel(x, y)
        if pixel is None or (view is None and self.session.image.view is not None):
            return None
        return self.session.object_at(self.label, self.voxel_of(view, *pixel))

    def move_box(self, plane: str, hit: BoxHit, start: XY, end: XY) -> str:
        """Move a corner of a box to a pixel, or the whole box by the way from one pixel to another; stays inside.

        Args:
            plane: of the view.
            hit: what was taken hold of.
            start: pixel of the view where the drag began.
            end: pixel where it ended.
        """
        view, (height, width) = self.own_view(plane), self.canvas(plane).shape
        x1, y1, x2, y2 = self._box_marks(view, hit.index)[hit.at].edges
        low, high = (x1, y1), (x2 - 1, y2 - 1)  # pixels of the corners, both inside
        if isinstance(hit.part, int):
            fixed = (low[0] if hit.part % 2 else high[0], low[1] if hit.part > 1 else high[1])
            corners = fixed, end
        else:
            most = (width - 1 - high[0], height - 1 - high[1])
            way = [min(max(b - a, -lo), hi) for a, b, lo, hi in zip(start, end, low, most, strict=True)]
            corners = (low[0] + way[0], low[1] + way[1]), (high[0] + way[0], high[1] + way[1])
        name = self.session.labels[hit.index]
        if corners[0] == corners[1]:
            return f"Box {hit.at + 1} of {name} would have no size and stays as it was."
        first, second = (self.voxel_of(view, *pixel) for pixel in corners)
        if self.session.net.takes_objects:
            self.session.move_box(hit.index, self.slice, hit.at, first, second)
        else:
            self.session.set_box(hit.index, first, second)
        self.update()
        if hit.index == self.label:
            self.choose_box(hit.at)
        return f"{'Resized' if isinstance(hit.part, int) else 'Moved'} box {hit.at + 1} of {name}."

    def draw_box(self, first: tuple[int, int, int], last: tuple[int, int, int], *, other: bool = False) -> str:
        """Give the class a box: beside those that are there where it has a box for each object, else in their place.

        Args:
            first: voxel of a corner.
            last: voxel of the opposite one.
            other: the other way round.
        """
        session, name = self.session, self.session.labels[self.label]
        if first == last:
            return "A box of no size is left out; drag from one corner to the other."
        several = session.net.takes_objects and session.has_objects(self.label, self.slice) != other
        if several:
            session.add_box(self.label, first, last)
        else:
            session.set_box(self.label, first, last)
        self.update()
        count = len(session.boxes(self.label, self.slice))
        if several:
            self.choose_box(count - 1)
        return f"Box {count} for {name}." if several else f"Box for {name}."

    def owner_in_words(self, voxel: tuple[int, int, int]) -> str:
        """Whose a person's positive point is: " (box 2)", " (an object of its own)"; nothing for a class of one box."""
        several = self.session.net.takes_objects and self.session.has_objects(self.label, self.slice)
        if not several or not self.session.boxes(self.label, self.slice):
            return ""
        owner = self.session.object_at(self.label, voxel)
        return " (an object of its own)" if owner is None else f" (box {owner + 1})"

    def own_view(self, plane: str) -> SliceView | None:
        """The view of a plane that cuts the volume as the network sees it; None for a picture and other planes."""
        view = self.view(plane) if self.session.image.view else None
        return view if view is not None and view.axes[0] == self.session.image.axis else None
