"""What a person's strokes do to an open image: scribbles, lassos, and voxels painted and erased by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amsam_monai.session.edits import ClassEdits, Outline, SessionPoint, bounds, changed
from amsam_monai.session.image import Voxel
from amsam_monai.session.prompt_edits import PromptEdits
from amsam_monai.session.strokes import MAX_BRUSH, MAX_PATH, deepest_points, inside_of, points_along, track_of

CELLS = 32  # of the longest side of a slice: points of a scribble are at least one apart


class StrokeEdits(PromptEdits):
    """`PromptEdits` that also take strokes; each is one step. Classes are indices."""

    def scribble(self, index: int, path: Sequence[Sequence[float]], positive: bool, most: int) -> list[SessionPoint]:
        """Add points along a path to those of its slice; gives them."""
        number, places = self._path(path)
        spacing = max(self.image.slice_hw) / CELLS
        spread = points_along([self.image.pixel(place) for place in places], at_least_one(most), spacing)
        points = [SessionPoint(self.image.voxel(number, x, y), bool(positive)) for x, y in spread]
        self._give_points(number, index, [*self._editable(index, number), *points])
        return points

    def lasso(
        self, index: int, outline: Sequence[Sequence[float]], beside: bool, several: bool, most: int
    ) -> list[SessionPoint]:
        """Give a class the box, the points and the mask prompt of an outline; gives the points.

        Args:
            index: class.
            outline: voxels of one slice, closed from the last to the first.
            beside: keep what the class has in the slice, but for points that contradict the outline.
            several: the class has a box for each object.
            most: how many points.
        """
        number, places = self._path(outline)
        mask = self._inside(number, [places])
        if len(set(places)) < 3:
            raise ValueError(f"a lasso must go round an area, got {len(set(places))} places; scribble instead.")
        points = [SessionPoint(self.image.voxel(number, x, y)) for x, y in deepest_points(mask, at_least_one(most))]
        kept = [
            point
            for point in self._editable(index, number)
            if self._holds(mask, point.voxel) == point.positive or (beside and point.positive)
        ]
        if several:
            boxes = [*(self._editable_boxes(index, number) if beside else ()), bounds(self.image, number, [places])]
            edits = self._with_objects(index, number, boxes, [places])
        else:
            before = self._edit(index, number).outlines if beside else ()
            edits = self._boxed(index, number, bounds(self.image, number, [*before, places]), [places])
        self.opened.change({number: changed(edits, index, points=(*kept, *points))})
        return points

    def paint(self, index: int, path: Sequence[Sequence[float]], brush: float, erase: bool) -> int:
        """Paint or erase a class by hand along a path; gives how many pixels changed."""
        if not 1 <= brush <= MAX_BRUSH:  # also refuses NaN
            raise ValueError(f"size must be from 1 to {MAX_BRUSH} pixels, got {brush!r}.")
        number, places = self._path(path)
        track = track_of([self.image.pixel(place) for place in places], brush, self.image.slice_hw)
        return self.opened.paint(number, index, track, erase=bool(erase))

    def _path(self, path: Sequence[Sequence[float]]) -> tuple[int, Outline]:
        """The slice of a stroke, and its voxels."""
        if not 1 <= len(path) <= MAX_PATH:
            raise ValueError(f"a stroke must have 1 to {MAX_PATH} places, got {len(path)}; draw it in shorter parts.")
        places: list[Voxel] = [self.image.check_voxel(place) for place in path]
        numbers = sorted({self.image.slice_of(place) for place in places})
        if len(numbers) > 1:
            raise ValueError(
                f"a stroke must lie in one slice, got places in slices {numbers[0]} to {numbers[-1]}; draw one in each."
            )
        return numbers[0], tuple(places)

    def _inside(self, number: int, outlines: Sequence[Outline]) -> np.ndarray:
        return inside_of([[self.image.pixel(at) for at in one] for one in outlines], self.image.slice_hw)

    def _holds(self, mask: np.ndarray, voxel: Voxel) -> bool:
        height, width = mask.shape
        x, y = (round(value) for value in self.image.pixel(voxel))
        return bool(mask[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])

    def _edit(self, index: int, number: int) -> ClassEdits:
        return self.opened.edits_of(number).get(index, ClassEdits())


def at_least_one(most: int) -> int:
    """A number of points.

    Raises:
        ValueError: below 1.
    """
    if most < 1:
        raise ValueError(f"max_points must be at least 1, got {most}.")
    return int(most)
