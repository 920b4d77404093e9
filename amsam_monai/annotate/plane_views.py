"""The open image as the page shows it: three planes through one voxel, with masks, points and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from amsam_monai.annotate.contrast import AS_SEEN, contrast_range, contrasts_of
from amsam_monai.annotate.drawing import BoxMark, Canvas, Mark, draw
from amsam_monai.data.slices import PLANES, SliceView
from amsam_monai.session.session import InteractiveSession


class PlaneViews:
    """Three planes through the cursor; of a picture one.

    Args:
        session: with an image open, before anything is shown.
        side: pixels of a picture's side on the screen.
    """

    def __init__(self, session: InteractiveSession, *, side: int = 640) -> None:
        self.session, self.side = session, side
        self.label, self.opacity = next(iter(session.labels)), 0.4
        self.plane, self.cursor = "image", (0, 0, 0)
        self.window: tuple[float, float] = (0.5, 1.0)  # level and width, of the contrast's range
        self.contrast = AS_SEEN  # see `contrast_range`
        self._range: tuple[float, float] | None = None

    @property
    def planes(self) -> list[str]:
        """Names of the three planes; one for a picture."""
        if self.session.image.view is None:
            return ["image"]
        if self.session.image.source.spacing_mm is None:  # no affine, or a placeholder
            return ["first axis", "second axis", "third axis"]
        return ["axial", "coronal", "sagittal"]

    @property
    def other_planes(self) -> list[str]:
        """The planes that are shown small."""
        return [name for name in self.planes if name != self.plane]

    def view(self, plane: str) -> SliceView:
        """How the volume is cut in a plane."""
        source = self.session.image.source
        axis: int | str = plane if plane in PLANES else ["first axis", "second axis", "third axis"].index(plane)
        return SliceView.of(source.array.shape, source.affine, axis=axis)

    def depth(self, plane: str | None = None) -> int:
        """Slices of a plane."""
        return self.view(plane or self.plane).depth if self.session.image.view else 1

    @property
    def place(self) -> int:
        """The slice that is shown, in the order of the plane."""
        return round(float(self.view(self.plane).to_slice(self.cursor)[0])) if self.session.image.view else 0

    def go(self, place: int) -> None:
        """Show another slice of the plane."""
        if self.session.image.view:
            view = self.view(self.plane)
            _, x, y = view.to_slice(self.cursor)
            place = min(max(place, 0), view.depth - 1)
            i, j, k = (round(float(v)) for v in view.to_voxel((place, x, y)))
            self.cursor = (i, j, k)
            self.update()

    def turn(self, plane: str) -> None:
        """Show another plane, through the same voxel."""
        if plane in self.planes:
            self.plane = plane

    @property
    def slice(self) -> int:
        """The session's slice through the cursor."""
        return self.session.image.slice_of(self.cursor)

    def update(self) -> None:
        """Segment the slice through the cursor with its prompts."""
        self.session.segment(self.slice)

    def canvas(self, plane: str, side: int | None = None) -> Canvas:
        """How a plane fills its square."""
        image = self.session.image
        if image.view is None:
            return Canvas(*image.slice_hw, side=side or self.side)
        view, spacing = self.view(plane), image.source.spacing_mm or (1.0, 1.0, 1.0)
        return Canvas(*view.slice_shape, (spacing[view.axes[1]], spacing[view.axes[2]]), side or self.side)

    def picture(self, plane: str | None = None, side: int | None = None) -> np.ndarray:
        """A plane through the cursor, with masks, points and boxes. Shape (side, side, 3), uint8."""
        plane = plane or self.plane
        image, canvas = self.session.image, self.canvas(plane, side)
        if image.view is None:
            pixels = self._scaled(image.pixels(0)[0].permute(1, 2, 0).numpy(), (0.0, 1.0))
            return draw(self._windowed(pixels), self.session.label, canvas, opacity=self.opacity, **self._prompts())
        view = self.view(plane)
        place, x, y = (float(part) for part in view.to_slice(self.cursor))
        cross = None if plane == self.plane else (x, y)
        prompts = self._prompts(view) if view.axes[0] == image.axis else {}
        pixels, mask = self.grey(view, round(place)), self.shown_mask(view, round(place))
        return draw(pixels, mask, canvas, opacity=self.opacity, cross=cross, **prompts)

    def grey(self, view: SliceView, place: int) -> np.ndarray:
        """A slice of a view as grey values in [0, 1], with the contrast. Shape (H, W)."""
        raw = view.see(self.session.image.source.array)[place].astype(np.float32)
        usual = self.session.image.limits or (float(raw.min()), float(raw.max()))
        return self._windowed(self._scaled(raw, usual))

    def side_rows(self, plane: str) -> tuple[int, int]:
        """First and last row of a small view: the slice with some room, not the whole square."""
        canvas = self.canvas(plane)
        height = min(max(canvas.size[1] + 24, self.side // 4), self.side)
        top = (self.side - height) // 2
        return top, top + height

    def side_picture(self, plane: str) -> np.ndarray:
        """A small view. Shape (rows, side, 3), uint8."""
        first, last = self.side_rows(plane)
        return self.picture(plane)[first:last]

    def on_screen(self, plane: str, x: float, y: float) -> tuple[float, float]:
        """A place in a picture, as fractions of its sides, in the square that the picture was cut from."""
        first, last = (0, self.side) if plane == self.plane else self.side_rows(plane)
        return x * self.side, first + y * (last - first)

    def shown_mask(self, view: SliceView, place: int) -> np.ndarray:
        """Class indices of a slice of a view, as they are shown. Shape (H, W)."""
        return view.see(self.session.label)[place]

    @property
    def contrasts(self) -> list[str]:
        """Contrasts to choose from, see `contrasts_of`."""
        return contrasts_of(self.session.image)

    def choose_contrast(self, name: str) -> None:
        """Show another range of values, at its middle and full width.

        Raises:
            ValueError: the open image has no such contrast.
        """
        self._range = contrast_range(name, self.session.image)
        self.contrast, self.window = name, (0.5, 1.0)

    def _scaled(self, values: np.ndarray, usual: tuple[float, float]) -> np.ndarray:
        """Values with the contrast's range, or else the usual one, from 0 to 1."""
        low, high = self._range or usual
        scaled: np.ndarray = (values - low) / max(high - low, 1e-9)
        return scaled

    def _windowed(self, pixels: np.ndarray) -> np.ndarray:
        level, width = self.window
        return np.clip((pixels - level) / max(width, 1e-3) + 0.5, 0, 1)

    def _prompts(self, view: SliceView | None = None) -> dict[str, Any]:
        """Points and boxes of the slice through the cursor, in pixels of the view."""
        session, number = self.session, self.slice
        marks: list[Mark] = []
        boxes: list[BoxMark] = []
        outlines: list[tuple[int, list[tuple[float, float]]]] = []
        for index in session.labels:
            for point in session.points(index, number):
                if point.automatic and not point.positive and index != self.label:
                    continue  # the background's points count for every class; once is enough to see
                marks.append(Mark(self._pixel(point.voxel, view), index, point.positive, point.automatic))
            boxes += self._box_marks(view, index)
            for outline in session.outlines(index, number):
                outlines.append((index, [self._pixel(place, view) for place in outline]))
        return {"marks": marks, "boxes": boxes, "outlines": outlines}

    @property
    def own_prompts(self) -> str:
        """What the network shows that it prompted itself with in this slice: "points", "boxes" or nothing."""
        known = self.session.answers.automatic(self.slice)
        if known is None:
            return ""
        if known.points_xy is not None and known.points_xy.shape[2]:
            return "points"
        return "boxes" if known.box_xyxy is not None or known.object_boxes is not None else ""

    @property
    def chosen(self) -> int | None:
        """Place of the chosen box among those of the current class in this slice; here none can be chosen."""
        return None

    def _box_marks(self, view: SliceView | None, index: int) -> list[BoxMark]:
        """The boxes of a class in the slice through the cursor, in pixels of the view; several have numbers."""
        corners, chosen = self.session.boxes(index, self.slice), self.chosen if index == self.label else None
        numbered = len(corners) > 1 or index == self.label
        marks = []
        for at, box in enumerate(corners):
            (ax, ay), (bx, by) = (self._pixel(corner, view) for corner in box)
            edges = min(ax, bx), min(ay, by), max(ax, bx) + 1, max(ay, by) + 1
            marks.append(BoxMark(edges, index, at + 1 if numbered else None, at == chosen))
        return marks

    def voxel_of(self, view: SliceView | None, x: float, y: float) -> tuple[float, float, float]:
        """The voxel of a pixel of a view through the cursor; of a picture, the pixel itself."""
        if view is None:
            return x, y, 0.0
        i, j, k = view.to_voxel((round(float(view.to_slice(self.cursor)[0])), x, y))
        return float(i), float(j), float(k)

    def _pixel(self, voxel: Sequence[float], view: SliceView | None) -> tuple[float, float]:
        if view is None:
            return self.session.image.pixel(voxel)
        _, x, y = view.to_slice(voxel)
        return float(x), float(y)

    def _own_plane(self) -> str:
        axis = self.session.image.axis
        return next((name for name in self.planes if self.view(name).axes[0] == axis), self.planes[0])
