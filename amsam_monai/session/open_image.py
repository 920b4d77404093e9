"""An open image slice by slice: masks, a person's prompts, what the network says, and the steps to undo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from amsam_monai.networks.prompts.objects import Objects
from amsam_monai.session.answers import SliceAnswers
from amsam_monai.session.edits import Corners, SessionPoint, SliceEdits, box_corners
from amsam_monai.session.history import History, SliceState, Step, pack, unpack
from amsam_monai.session.image import SessionImage, Voxel
from amsam_monai.session.network_prompts import points_in
from amsam_monai.session.painting import classes_of, put_on, with_track, without_classes


@dataclass
class SliceResult:
    """What the network says of a slice.

    Args:
        slice: number of the slice, as the stored array counts.
        mask: class indices as the session's label map holds them, in the view's orientation.
        points: per class name, the points that were used.
        boxes: per class name, two corner voxels, or None.
        quality: per class name, predicted IoU in [0, 1]; empty where the system does not tell.
        presence: per class name, probability that the class is there; empty where the system does not tell.
        object_quality: per class name, predicted IoU of each object with a box, in the order of the boxes; a class that
            was not decoded by objects is not there.

    Shape: mask (H, W).
    """

    slice: int
    mask: np.ndarray
    points: dict[str, list[SessionPoint]] = field(default_factory=dict)
    boxes: dict[str, tuple[Voxel, Voxel] | None] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)
    presence: dict[str, float] = field(default_factory=dict)
    object_quality: dict[str, list[float]] = field(default_factory=dict)


class OpenImage:
    """An image with its label map, the prompts of each slice, and the steps that led there. Classes are indices.

    Args:
        image: the image.
        answers: the network on its slices.
        labels: name of every class index above 0.
    """

    def __init__(self, image: SessionImage, answers: SliceAnswers, labels: Mapping[int, str]) -> None:
        self.image, self.answers, self.labels = image, answers, labels
        self.label = image.no_label()
        self.edits: dict[int, SliceEdits] = {}
        self.painted: dict[int, np.ndarray] = {}  # by slice, see `painting`
        self.revision = 0  # counts what a person did
        self.results: dict[int, SliceResult] = {}
        self.history = History()
        self._fresh: set[int] = set()  # slices whose mask is the answer to their prompts

    def edits_of(self, number: int) -> SliceEdits:
        """A person's prompts in a slice, by class."""
        return self.edits.get(number, {})

    def plane(self, number: int) -> np.ndarray:
        """Slice `number` of the label map, to read and to write. Shape (H, W)."""
        return self.image.plane(self.label, number)

    def points(self, index: int, number: int) -> list[SessionPoint]:
        """Points of a class in a slice: a person's, or else the network's own as far as they are known."""
        edit = self.edits_of(number).get(index)
        if edit is not None and edit.points is not None:
            return list(edit.points)
        return self.own_points(index, number)

    def own_points(self, index: int, number: int) -> list[SessionPoint]:
        """The network's own points of a class in a slice, as far as they are known."""
        known = self.answers.known(number, self.edits_of(number))
        return points_in(self.image, known, number, index) if known else []

    def box(self, index: int, number: int) -> tuple[Voxel, Voxel] | None:
        """Two corner voxels of a class's (first) box in a slice, a person's or the network's, or None."""
        edit = self.edits_of(number).get(index)
        if edit is not None and edit.boxes is not None:
            return edit.boxes[0] if edit.boxes else None
        if edit is not None and edit.box_given:
            return edit.box
        known = self.answers.known(number, self.edits_of(number))
        if known is None or known.box_xyxy is None:
            return None
        edges = known.box_xyxy[0, index - 1]
        return None if edges.isnan().any() else box_corners(self.image, number, tuple(edges.tolist()))

    def boxes(self, index: int, number: int) -> list[Corners]:
        """Corner voxels of the boxes of a class's objects in a slice, a person's or the network's."""
        edit = self.edits_of(number).get(index)
        if edit is not None and edit.boxes is not None:
            return list(edit.boxes)
        known = self.answers.known(number, self.edits_of(number))
        if (edit is None or not edit.box_given) and known is not None and known.object_boxes is not None:
            own = known.object_boxes[0, index - 1]
            found = own[~own.isnan().any(-1)].tolist()
            if found:
                return [box_corners(self.image, number, tuple(edges)) for edges in found]
        box = self.box(index, number)
        return [] if box is None else [box]

    def own_boxes(self, index: int, number: int) -> list[Corners]:
        """Corner voxels of the boxes that the network alone gives a class's objects, as far as they are known."""
        known = self.answers.automatic(number)
        boxes = None if known is None else known.object_boxes if known.object_boxes is not None else known.box_xyxy
        if boxes is None:
            return []
        own = boxes[0, index - 1].reshape(-1, 4)
        return [box_corners(self.image, number, tuple(edges)) for edges in own[~own.isnan().any(-1)].tolist()]

    def box_quality(self, index: int, number: int) -> list[float | None]:
        """Predicted IoU of the object of each of `boxes`, in their order; None where nobody tells."""
        count, name, result = len(self.boxes(index, number)), self.labels[index], self.results.get(number)
        told = [] if result is None else result.object_quality.get(name, [])
        if len(told) != count and count == 1 and result is not None and name in result.quality:
            told = [result.quality[name]]
        return [value if value == value else None for value in told] if len(told) == count else [None] * count

    def segment(self, number: int) -> SliceResult:
        """Bring a slice's mask up to date with its prompts."""
        if number in self._fresh:
            return self.results[number]
        answer = self.answers.answer(number, self.edits_of(number))
        mask = largest(answer.logits[0]).cpu().numpy()
        plane = self.plane(number)
        if self.history.done and number not in self.history.done[-1] and plane.any():
            self.history.widen(self.capture([number]))
        plane[...] = mask
        if number in self.painted:
            put_on(plane, self.painted[number])
        result = SliceResult(
            number,
            plane,
            {name: self.points(index, number) for index, name in self.labels.items()},
            {name: self.box(index, number) for index, name in self.labels.items()},
            self._by_name(answer.quality),
            self._by_name(answer.presence),
            self._object_quality(number, answer.objects),
        )
        self.results[number] = result
        self._fresh.add(number)
        return result

    def change(self, changes: Mapping[int, SliceEdits]) -> None:
        """Give slices other prompts, as one step; their masks wait for `segment`."""
        if changes:
            self.history.record(self.capture(changes))
        for number, edits in changes.items():
            self.store(number, edits)

    def paint(self, number: int, index: int, track: np.ndarray, *, erase: bool) -> int:
        """Paint or erase a class where a brush was, (H, W) bool, as one step; gives how many pixels changed."""
        self.segment(number)
        self.history.record(self.capture([number]))
        plane = self.plane(number)
        before = plane.copy()
        self.painted[number] = with_track(self.painted.get(number), plane, index, track, erase=erase)
        put_on(plane, self.painted[number])
        self.revision += 1
        return int((plane != before).sum())

    def painted_classes(self, number: int) -> set[int]:
        """Classes that a person painted or erased in a slice."""
        return classes_of(self.painted[number]) if number in self.painted else set()

    def forget_painted(self, number: int, classes: Iterable[int]) -> None:
        """Drop what was painted and erased of classes in a slice; the mask waits for `segment`."""
        if number in self.painted:
            self._give_painted(number, without_classes(self.painted[number], classes))
            self._fresh.discard(number)

    def _give_painted(self, number: int, painted: np.ndarray | None) -> None:
        self.painted.pop(number, None)
        if painted is not None and painted.any():
            self.painted[number] = painted

    def store(self, number: int, edits: SliceEdits) -> None:
        """Give a slice other prompts, without a step of its own."""
        self.revision += 1
        self.edits.pop(number, None)
        if edits:
            self.edits[number] = edits
        self._fresh.discard(number)

    def capture(self, numbers: Iterable[int]) -> Step:
        """Slices as they are now."""
        return {
            number: SliceState(
                self.edits_of(number),
                pack(self.plane(number)),
                pack(self.painted[number]) if number in self.painted else None,
            )
            for number in numbers
        }

    def restore(self, step: Step) -> None:
        """Slices as they were."""
        for number, state in step.items():
            self.store(number, state.edits)
            size, painted = self.image.slice_hw, state.painted
            self.plane(number)[...] = unpack(state.mask, size)
            self._give_painted(number, None if painted is None else unpack(painted, size, np.int16))
            self.results.pop(number, None)

    def undo(self) -> list[int]:
        """Take the last step back; the slices that changed, none where there is no step."""
        return self._swap(self.history.done, self.history.undone)

    def redo(self) -> list[int]:
        """Take the last undone step again; the slices that changed."""
        return self._swap(self.history.undone, self.history.done)

    def _swap(self, source: list[Step], target: list[Step]) -> list[int]:
        if not source:
            return []
        step = source.pop()
        target.append(self.capture(step))
        self.restore(step)
        return sorted(step)

    def _object_quality(self, number: int, objects: Objects | None) -> dict[str, list[float]]:
        """Of each class's objects; of classes that were not decoded anew as it was."""
        if objects is None:
            return {}
        before = self.results[number].object_quality if number in self.results else {}
        told = {}
        for index, name in self.labels.items():
            boxed = ~objects.boxes[0, index - 1].isnan().any(-1)
            values = [round(value, 4) for value in objects.quality[0, index - 1][boxed].tolist()]
            told[name] = before.get(name, values) if values and all(one != one for one in values) else values
        return told

    def _by_name(self, values: Tensor | None) -> dict[str, float]:
        if values is None:
            return {}
        return {name: round(float(values[0, index - 1]), 4) for index, name in self.labels.items()}


def largest(logits: Tensor) -> Tensor:
    """The class of the largest logit at each pixel, the first of equal ones. Shape (C, H, W) -> (H, W), uint8."""
    best, classes = logits[0], torch.zeros_like(logits[0], dtype=torch.uint8)
    for index in range(1, len(logits)):  # an argmax across planes is several times slower
        classes.masked_fill_(logits[index] > best, index)
        best = torch.maximum(best, logits[index])
    return classes
