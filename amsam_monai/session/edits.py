"""What a person changed in a session: points and boxes per slice and class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from amsam_monai.session.image import SessionImage, Voxel
from amsam_monai.session.limits import check_count

Corners = tuple[Voxel, Voxel]  # of a box: two opposite ones, both inside
Outline = tuple[Voxel, ...]  # of a lasso, closed


@dataclass(frozen=True)
class SessionPoint:
    """A point of a class in a slice.

    Args:
        voxel: (i, j, k) of the stored image, fractions allowed inside the slice.
        positive: inside the object; otherwise outside.
        automatic: the network's own choice, not a person's.
    """

    voxel: Voxel
    positive: bool = True
    automatic: bool = False


@dataclass(frozen=True)
class ClassEdits:
    """A person's prompts for one class in one slice.

    Args:
        points: all points, those taken over from the network included; None leaves them to the network.
        box: voxels of two opposite corners, both inside; None is no box.
        box_given: whether `box` replaces the network's own box, or boxes.
        boxes: a box for each object, as `box`, in place of the network's own and of `box`; None leaves it to these.
        outlines: lassos; what is inside is the class's mask prompt.
    """

    points: tuple[SessionPoint, ...] | None = None
    box: tuple[Voxel, Voxel] | None = None
    box_given: bool = False
    boxes: tuple[Corners, ...] | None = None
    outlines: tuple[Outline, ...] = ()

    def __post_init__(self) -> None:
        """Refuse more points than `limits` allows."""
        check_count("a class in a slice", len(self.points or ()))

    @property
    def boxed(self) -> bool:
        """Whether a person said of the class's box, or boxes."""
        return self.box_given or self.boxes is not None

    @property
    def empty(self) -> bool:
        """Whether everything is left to the network."""
        return self.points is None and not self.boxed and not self.outlines

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the same edits back."""
        facts: dict[str, Any] = {}
        if self.points is not None:
            facts["points"] = [
                {"voxel": list(point.voxel), "positive": point.positive, "automatic": point.automatic}
                for point in self.points
            ]
        if self.box_given:
            facts["box"] = [list(corner) for corner in self.box] if self.box else None
        if self.boxes is not None:
            facts["boxes"] = [[list(corner) for corner in box] for box in self.boxes]
        if self.outlines:
            facts["outlines"] = [[list(place) for place in outline] for outline in self.outlines]
        return facts

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], image: SessionImage) -> ClassEdits:
        """Edits from `to_json`'s values, checked against the image."""
        points = None
        if "points" in facts:
            points = tuple(
                SessionPoint(
                    image.check_voxel(point["voxel"]), bool(point["positive"]), bool(point.get("automatic", False))
                )
                for point in facts["points"]
            )
        box = facts.get("box")
        corners = (image.check_voxel(box[0]), image.check_voxel(box[1])) if box else None
        boxes = None
        if "boxes" in facts:
            boxes = tuple((image.check_voxel(one), image.check_voxel(other)) for one, other in facts["boxes"])
        outlines = tuple(tuple(image.check_voxel(place) for place in one) for one in facts.get("outlines", ()))
        return cls(points, corners, "box" in facts, boxes, outlines)


SliceEdits = dict[int, ClassEdits]


def box_edges(image: SessionImage, corners: tuple[Voxel, Voxel]) -> tuple[float, float, float, float]:
    """Corner voxels -> edges x1, y1, x2, y2 in pixels of the slice, the corners' pixels included."""
    (ax, ay), (bx, by) = (image.pixel(corner) for corner in corners)
    return min(ax, bx), min(ay, by), max(ax, bx) + 1, max(ay, by) + 1


def box_corners(image: SessionImage, number: int, edges: tuple[float, ...]) -> tuple[Voxel, Voxel]:
    """Edges x1, y1, x2, y2 in pixels of slice `number` -> voxels of the corners inside."""
    x1, y1, x2, y2 = edges
    return image.voxel(number, x1, y1), image.voxel(number, x2 - 1, y2 - 1)


def bounds(image: SessionImage, number: int, outlines: Sequence[Outline]) -> Corners:
    """Corner voxels, both inside, of the box around outlines in slice `number`."""
    places = [image.pixel(place) for outline in outlines for place in outline]
    xs, ys = ([round(place[at]) for place in places] for at in (0, 1))
    return image.voxel(number, min(xs), min(ys)), image.voxel(number, max(xs), max(ys))


def without(edits: SliceEdits, index: int) -> SliceEdits:
    """The edits without those of one class."""
    return {key: edit for key, edit in edits.items() if key != index}


def changed(edits: SliceEdits, index: int, **changes: Any) -> SliceEdits:
    """The edits with those of one class changed."""
    edit = replace(edits.get(index, ClassEdits()), **changes)
    return without(edits, index) if edit.empty else {**without(edits, index), index: edit}
