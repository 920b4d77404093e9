"""A person's points and boxes as a network's prompts, and the network's own as a person's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from amsam_monai.networks.prompts import Prompts
from amsam_monai.session.edits import ClassEdits, SessionPoint, box_edges
from amsam_monai.session.image import SessionImage
from amsam_monai.session.strokes import inside_of


def boxes_of(edits: Mapping[int, ClassEdits]) -> tuple[object, ...]:
    """What a person said of boxes, to compare."""
    return tuple((index, edit.box, edit.boxes) for index, edit in sorted(edits.items()) if edit.boxed)


def with_boxes(image: SessionImage, automatic: Prompts, edits: Mapping[int, ClassEdits], classes: int) -> Prompts:
    """Boxes alone: a person's, and for the other classes the network's. Shape: a batch of one."""
    boxes = torch.full((1, classes, 4), torch.nan)
    if automatic.box_xyxy is not None:
        boxes = automatic.box_xyxy.clone()
    objects = automatic.object_boxes
    for index, edit in edits.items():
        if edit.boxed:
            edges = box_edges(image, edit.box) if edit.box and edit.boxes is None else (torch.nan,) * 4
            boxes[0, index - 1] = torch.tensor(edges)
            own = [box_edges(image, box) for box in edit.boxes or ()]
            if objects is not None or own:
                objects = with_objects(objects, index, torch.tensor(own).reshape(-1, 4), classes)
    return Prompts(box_xyxy=boxes, object_boxes=objects)


def with_objects(objects: Tensor | None, index: int, boxes: Tensor, classes: int) -> Tensor:
    """Boxes of objects with those of one class replaced, (M, 4). Shape: (1, K, M', 4) -> (1, K, M'', 4)."""
    count = max(len(boxes), 1 if objects is None else objects.shape[2])
    changed = torch.full((1, classes, count, 4), torch.nan)
    if objects is not None:
        changed[:, :, : objects.shape[2]] = objects
    changed[0, index - 1] = torch.nan
    changed[0, index - 1, : len(boxes)] = boxes
    return changed


def with_points(
    image: SessionImage, own: Prompts, points: Mapping[int, tuple[SessionPoint, ...]], classes: int
) -> Prompts:
    """The network's own prompts with the points of some classes replaced; of the same kind. Shape: a batch of one."""
    listed = {
        index: (
            torch.tensor([image.pixel(point.voxel) for point in some]).reshape(-1, 2),
            torch.tensor([float(point.positive) for point in some]),
        )
        for index, some in points.items()
    }
    return replace_points(own, listed, classes)


def lassoed_masks(image: SessionImage, edits: Mapping[int, ClassEdits], classes: int) -> Tensor:
    """What lassos hold: 1 inside, 0 outside, NaN throughout where a class has none. Shape (1, K, H, W)."""
    masks = torch.full((1, classes, *image.slice_hw), torch.nan)
    for index, edit in edits.items():
        if edit.outlines:
            outlines = [[image.pixel(place) for place in outline] for outline in edit.outlines]
            masks[0, index - 1] = torch.from_numpy(inside_of(outlines, image.slice_hw)).float()
    return masks


def with_classes(own: Prompts, other: Prompts, indices: Sequence[int]) -> Prompts:
    """The prompts with points and boxes of some classes taken from others. Shape: batches of one."""
    mixed = own
    if other.points_xy is not None and other.point_labels is not None:
        places = [index - 1 for index in indices]
        listed = {at + 1: (other.points_xy[0, at], other.point_labels[0, at]) for at in places}
        mixed = replace_points(own, listed, other.points_xy.shape[1])
    if other.object_boxes is not None or own.object_boxes is not None:
        objects = own.object_boxes
        for index in indices:
            theirs = torch.zeros(0, 4) if other.object_boxes is None else other.object_boxes[0, index - 1]
            objects = with_objects(objects, index, theirs, len(objects[0]) if objects is not None else _classes(other))
        mixed = replace(mixed, object_boxes=objects)
    if other.box_xyxy is None:
        return mixed
    boxes = torch.full_like(other.box_xyxy, torch.nan) if own.box_xyxy is None else own.box_xyxy.clone()
    for index in indices:
        boxes[:, index - 1] = other.box_xyxy[:, index - 1]
    return replace(mixed, box_xyxy=boxes)


def _classes(prompts: Prompts) -> int:
    parts = (prompts.object_boxes, prompts.box_xyxy, prompts.points_xy)
    return next(part.shape[1] for part in parts if part is not None)


def replace_points(own: Prompts, points: Mapping[int, tuple[Tensor, Tensor]], classes: int) -> Prompts:
    """The prompts with the points of some classes replaced: pixels (P, 2) and signs (P,) by class index."""
    if not points:
        return own
    own_count = 0 if own.points_xy is None else own.points_xy.shape[2]
    count = max(own_count, *(len(signs) for _, signs in points.values()))
    if not count:
        return replace(own, points_xy=None, point_labels=None)
    xy, signs = torch.full((1, classes, count, 2), torch.nan), torch.zeros(1, classes, count)
    if own.points_xy is not None and own.point_labels is not None:
        xy[:, :, :own_count], signs[:, :, :own_count] = own.points_xy, own.point_labels.to(signs)
    for index, (places, positive) in points.items():
        xy[0, index - 1] = torch.nan
        xy[0, index - 1, : len(places)], signs[0, index - 1, : len(places)] = places, positive
    return replace(own, points_xy=xy, point_labels=signs)


def points_in(image: SessionImage, prompts: Prompts, number: int, index: int) -> list[SessionPoint]:
    """The points of a class in the network's own prompts, as voxels."""
    if prompts.points_xy is None or prompts.point_labels is None:
        return []
    pairs = zip(prompts.points_xy[0, index - 1].tolist(), prompts.point_labels[0, index - 1].tolist(), strict=True)
    return [
        SessionPoint(image.voxel(number, x, y), bool(sign), automatic=True)
        for (x, y), sign in pairs
        if x == x and y == y  # not NaN
    ]
