"""What a person's strokes on the views do: scribbles, lassos, brush and eraser."""

from __future__ import annotations

from collections.abc import Sequence

from amsam_monai.annotate.box_views import XY
from amsam_monai.annotate.hand import Hand
from amsam_monai.session.session import InteractiveSession
from amsam_monai.session.strokes import MAX_BRUSH

STROKES = ("scribble", "scribble_out", "lasso", "brush", "eraser")
TOOLS = ("add", "remove", *STROKES, "box", "delete", "look")
BRUSH = 9


class Pen(Hand):
    """Views that take strokes, for the chosen class.

    Args:
        session: see `Hand`.
        side: see `Hand`.
    """

    def __init__(self, session: InteractiveSession, *, side: int = 640) -> None:
        super().__init__(session, side=side)
        self.brush = BRUSH  # diameter in pixels of the slice

    def choose_brush(self, size: float) -> None:
        """Take a brush of another diameter, in pixels of the slice; as near as there is one."""
        self.brush = min(max(round(size), 1), MAX_BRUSH) if size == size else BRUSH

    def click(self, plane: str, x: float, y: float) -> str:
        """Use the tool at a place on the screen; says what happened."""
        return self.stroke(plane, [(x, y)]) if self.tool in STROKES else super().click(plane, x, y)

    def drag(self, plane: str, start: XY, end: XY, *, other: bool = False) -> str:
        """See `Hand.drag`; a tool that draws strokes draws a straight one."""
        if self.tool in STROKES:
            return self.stroke(plane, [start, end], other=other)
        return super().drag(plane, start, end, other=other)

    def stroke(self, plane: str, path: Sequence[XY], *, other: bool = False) -> str:
        """Use a tool along a path on the screen; says what happened.

        Args:
            plane: of the view.
            path: places on the screen in order; those beside the image count as the nearest in it.
            other: the other way round: outside for inside, erase for paint, and of lassos see `draw_box`.

        Raises:
            ValueError: as the session's strokes.
        """
        view, canvas = self.own_view(plane), self.canvas(plane)
        if view is None and self.session.image.view is not None:
            return f"Draw in the plane that the network sees, {self._own_plane()}."
        if all(canvas.pixel(*place) is None for place in path):
            return "That is beside the image."
        voxels = [self.voxel_of(view, *canvas.nearest(*place)) for place in path]
        said = self._draw(voxels, other)
        i, j, k = (round(value) for value in voxels[-1])
        self.cursor = (i, j, k)
        self.update()
        return said

    def _draw(self, voxels: list[tuple[float, float, float]], other: bool) -> str:
        session, name = self.session, self.session.labels[self.label]
        if self.tool in ("scribble", "scribble_out"):
            positive = (self.tool == "scribble") != other
            count = len(session.scribble(self.label, voxels, positive))
            return f"{count} point{'s' * (count != 1)} {'added to' if positive else 'taken from'} {name}."
        if self.tool == "lasso":
            beside = (session.net.takes_objects and session.has_objects(self.label, self.slice)) != other
            session.lasso(self.label, voxels, beside=beside)
            return f"Lasso {'beside what there is ' if beside else ''}for {name}."
        erase = (self.tool == "eraser") != other
        count = session.paint(self.label, voxels, size=self.brush, erase=erase)
        return f"{'Erased' if erase else 'Painted'} {count} pixel{'s' * (count != 1)} of {name}."
