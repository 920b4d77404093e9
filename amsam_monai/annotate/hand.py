"""What a person's clicks and drags on the views do."""

from __future__ import annotations

from amsam_monai.annotate.box_views import BoxViews
from amsam_monai.session.session import InteractiveSession

REACH = 14.0  # screen pixels within which a click hits a point
UNMOVED = "The mask does not follow there: click again close by, or paint it."


class Hand(BoxViews):
    """Views that take clicks and drags with a tool, for the chosen class.

    Args:
        session: see `BoxViews`.
        side: see `BoxViews`.
    """

    def __init__(self, session: InteractiveSession, *, side: int = 640) -> None:
        super().__init__(session, side=side)
        self.tool = "add"

    def voxel_at(self, plane: str, x: float, y: float) -> tuple[int, int, int] | None:
        """The voxel under a place on the screen; None beside the image."""
        pixel = self.canvas(plane).pixel(x, y)
        if pixel is None:
            return None
        if self.session.image.view is None:
            return round(pixel[0]), round(pixel[1]), 0
        view = self.view(plane)
        place = round(float(view.to_slice(self.cursor)[0]))
        i, j, k = (round(float(v)) for v in view.to_voxel((place, *pixel)))
        return i, j, k

    def click(self, plane: str, x: float, y: float) -> str:
        """Use the tool at a place on the screen; says what happened."""
        voxel = self.voxel_at(plane, x, y)
        if voxel is None:
            return "That is beside the image."
        self.cursor = voxel
        name = self.session.labels[self.label]
        if self.tool == "look":
            self.update()
            return f"{self._at(voxel)}."
        if self.tool == "box":
            return self._take_box(plane, x, y)
        if self.tool == "delete":
            return self._delete(plane, x, y)
        owner = self.owner_in_words(voxel) if self.tool == "add" else ""
        self.session.add_point(self.label, voxel, positive=self.tool == "add")
        self.update()
        said = f"{'Added to' if self.tool == 'add' else 'Taken from'} {name}{owner} at {self._at(voxel).lower()}."
        return said if self._has(voxel) == (self.tool == "add") else f"{said} {UNMOVED}"

    def _has(self, voxel: tuple[int, int, int]) -> bool:
        """Whether the current class has a voxel."""
        image = self.session.image
        x, y = image.pixel(voxel)
        return bool(self.session.opened.plane(image.slice_of(voxel))[round(y), round(x)] == self.label)

    def _take_box(self, plane: str, x: float, y: float) -> str:
        """Choose the box under a place on the screen, or else the smallest that holds it; of the current class."""
        self.update()
        hit = self.hit_box(plane, x, y)
        at = hit.at if hit is not None and hit.index == self.label else self.box_around(plane, x, y)
        return "Drag to draw a box." if at is None else self.choose_box(at)

    def _at(self, voxel: tuple[int, int, int]) -> str:
        """A place in words."""
        return f"Voxel {voxel}" if self.session.image.view else f"Pixel {voxel[:2]}"

    def drag(self, plane: str, start: tuple[float, float], end: tuple[float, float], *, other: bool = False) -> str:
        """Draw a box for the class, or move the point, the corner of a box or the box that the drag starts on.

        Args:
            plane: of the view.
            start: where on the screen it begins.
            end: where it ends.
            other: see `draw_box`.
        """
        canvas = self.canvas(plane)
        (left, top), (width, height) = canvas.offset, canvas.size

        def inside(place: tuple[float, float]) -> tuple[float, float]:
            return min(max(place[0], left), left + width - 1), min(max(place[1], top), top + height - 1)

        first, last = (self.voxel_at(plane, *inside(place)) for place in (start, end))
        if first is None or last is None:
            return "That is beside the image."
        if (hit := self._hit(plane, *start)) is not None and self.tool != "box":
            self.session.move_point(hit[0], self.slice, hit[1], last)
            self.update()
            return f"Moved a point of {self.session.labels[hit[0]]}."
        if (box := self.hit_box(plane, *start)) is not None and box.part != "edge":
            before, after = canvas.pixel(*inside(start)), canvas.pixel(*inside(end))
            if before is not None and after is not None:
                return self.move_box(plane, box, self._whole(before), self._whole(after))
        if self.session.image.slice_of(first) != self.session.image.slice_of(last):
            return f"Draw boxes in the plane that the network sees, {self._own_plane()}."
        return self.draw_box(first, last, other=other)

    def _whole(self, pixel: tuple[float, float]) -> tuple[float, float]:
        return float(round(pixel[0])), float(round(pixel[1]))

    def _hit(self, plane: str, x: float, y: float) -> tuple[int, int] | None:
        """Class and index of the point under a place on the screen, the current class first."""
        image, canvas = self.session.image, self.canvas(plane)
        view = self.view(plane) if image.view else None
        if view is not None and view.axes[0] != image.axis:
            return None
        found = []
        for index in sorted(self.session.labels, key=lambda one: one != self.label):
            for at, point in enumerate(self.session.points(index, self.slice)):
                px, py = canvas.screen(*self._pixel(point.voxel, view))
                found.append((max(abs(px - x), abs(py - y)), index, at))
        near = [entry for entry in found if entry[0] <= REACH]
        return min(near, key=lambda entry: entry[0])[1:] if near else None

    def _delete(self, plane: str, x: float, y: float) -> str:
        hit = self._hit(plane, x, y)
        if hit is None and (box := self.hit_box(plane, x, y)) is not None:
            return self._remove_box(box.index, box.at)
        if hit is None:
            return "There is no point to delete here, and no edge of a box."
        self.session.remove_point(hit[0], self.slice, hit[1])
        self.update()
        return f"Deleted a point of {self.session.labels[hit[0]]}."
