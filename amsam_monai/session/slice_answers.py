"""What a network answers to a person's edits of a slice, with its own prompts computed once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amsam_monai.networks.prompts import Prompts, Segmentation
from amsam_monai.networks.systems.system import System
from amsam_monai.segment.embeddings_lru import EmbeddingLRU
from amsam_monai.session.edits import ClassEdits, SessionPoint, box_edges
from amsam_monai.session.image import SessionImage

ABSENT_MARGIN = -20.0  # a class this far below background everywhere was left out, not weighed


@dataclass
class _Last:
    """The last answer, to which a click adds only the classes that it is about."""

    number: int
    edits: dict[int, ClassEdits]
    answer: Segmentation


@dataclass
class _Base:
    """The network's own prompts of a slice, given a person's boxes; and the classes that it left out."""

    boxes: tuple[object, ...]
    prompts: Prompts
    absent: Tensor  # (K,) bool


class SliceAnswers:
    """A network on the slices of one image.

    A person's points replace the network's own in the prompts that the network gave back, which it takes again as
    they are; a person's box makes the network prompt itself anew, inside it.

    Args:
        net: a system in evaluation mode.
        image: the open image.
        cache: where embeddings are kept.
        lock: taken while the network runs.
    """

    def __init__(self, net: System, image: SessionImage, cache: EmbeddingLRU, lock: threading.Lock) -> None:
        self.net, self.image, self.cache, self.lock = net, image, cache, lock
        self._automatic: dict[int, _Base] = {}
        self._boxed: dict[int, _Base] = {}
        self._last: _Last | None = None

    def embedding(self, number: int) -> Tensor:
        """The embedding of a slice, from the cache or computed. Shape (1, 256, g, g)."""

        def compute() -> Tensor:
            pixels = self._pixels(number)
            with self.lock, torch.no_grad():
                return self.net.encode(pixels).cpu()

        key = (self.image.key, id(self.net), self.image.axis, number)
        return self.cache.get(key, compute).to(self.net.sam.pixel_mean.device)

    def known(self, number: int, edits: Mapping[int, ClassEdits]) -> Prompts | None:
        """The network's own prompts for a slice, where they were computed for these boxes."""
        base = self._boxed.get(number) if boxes_of(edits) else self._automatic.get(number)
        return base.prompts if base and base.boxes == boxes_of(edits) else None

    def answer(self, number: int, edits: Mapping[int, ClassEdits]) -> Segmentation:
        """The network's answer for a slice with a person's edits."""
        answer, base = self._base(number, edits)
        pointed = {index: edit.points for index, edit in edits.items() if edit.points is not None}
        if pointed:
            prompts = with_points(self.image, base.prompts, pointed, self.net.num_classes)
            answer = self._changed_classes(number, edits, prompts)
        elif answer is None:  # asked before: ask the same again, so that the answer is the same
            answer = self._segment(number, self._boxes(number, edits))
        automatic = self._automatic[number]
        left_out = [index for index in range(1, self.net.num_classes + 1) if index not in edits]
        left_out = [index for index in left_out if bool(automatic.absent[index - 1])]
        if edits and left_out:
            answer.logits[:, left_out] = answer.logits[:, :1].amin() - 30.0
        self._last = _Last(number, dict(edits), answer)
        return answer

    def _changed_classes(self, number: int, edits: Mapping[int, ClassEdits], prompts: Prompts) -> Segmentation:
        """The answer to prompts; of a network that decodes classes alone only those that changed are asked."""
        last = self._last
        if not self.net.classes_alone or last is None or last.number != number:
            return self._segment(number, prompts)
        classes = [k for k in range(1, self.net.num_classes + 1) if edits.get(k) != last.edits.get(k)]
        if boxes_of(edits) != boxes_of(last.edits) or not classes:
            return self._segment(number, prompts)
        part, whole = self._segment(number, prompts, classes), last.answer
        places = [k - 1 for k in classes]
        logits = whole.logits.clone()
        logits[:, classes] = part.logits[:, classes]
        quality = whole.quality
        if quality is not None and part.quality is not None:
            quality = quality.clone()
            quality[:, places] = part.quality[:, places]
        return replace(part, logits=logits, quality=quality)

    def _base(self, number: int, edits: Mapping[int, ClassEdits]) -> tuple[Segmentation | None, _Base]:
        """The network's prompts given a person's boxes; and the answer, where it had to be computed."""
        answer: Segmentation | None = None
        if number not in self._automatic:
            answer = self._segment(number, None)
            self._last = _Last(number, {}, answer)
            above = (answer.logits[0, 1:] - answer.logits[0, :1]).flatten(1).amax(1)
            self._automatic[number] = _Base((), answer.prompts.to("cpu"), (above < ABSENT_MARGIN).cpu())
        automatic, boxes = self._automatic[number], boxes_of(edits)
        if not boxes:
            return answer, automatic
        if number in self._boxed and self._boxed[number].boxes == boxes:
            return None, self._boxed[number]
        answer = self._segment(number, self._boxes(number, edits))
        self._boxed[number] = _Base(boxes, answer.prompts.to("cpu"), automatic.absent)
        return answer, self._boxed[number]

    def _boxes(self, number: int, edits: Mapping[int, ClassEdits]) -> Prompts | None:
        """What the network is asked without points: nothing, or a person's boxes."""
        if not boxes_of(edits):
            return None
        return with_boxes(self.image, self._automatic[number].prompts, edits, self.net.num_classes)

    def _segment(self, number: int, prompts: Prompts | None, classes: Sequence[int] | None = None) -> Segmentation:
        pixels, embedding = self._pixels(number), self.embedding(number)
        prompts = None if prompts is None else prompts.to(pixels.device)
        with self.lock:
            return self.net.segment(pixels, prompts, embedding, classes=classes)

    def _pixels(self, number: int) -> Tensor:
        return self.image.pixels(number).to(self.net.sam.pixel_mean.device)


def boxes_of(edits: Mapping[int, ClassEdits]) -> tuple[object, ...]:
    """What a person said of boxes, to compare."""
    return tuple((index, edit.box) for index, edit in sorted(edits.items()) if edit.box_given)


def with_boxes(image: SessionImage, automatic: Prompts, edits: Mapping[int, ClassEdits], classes: int) -> Prompts:
    """Boxes alone: a person's, and for the other classes the network's. Shape: a batch of one."""
    boxes = torch.full((1, classes, 4), torch.nan)
    if automatic.box_xyxy is not None:
        boxes = automatic.box_xyxy.clone()
    for index, edit in edits.items():
        if edit.box_given:
            edges = box_edges(image, edit.box) if edit.box else (torch.nan,) * 4
            boxes[0, index - 1] = torch.tensor(edges)
    return Prompts(box_xyxy=boxes)


def with_points(
    image: SessionImage, own: Prompts, points: Mapping[int, tuple[SessionPoint, ...]], classes: int
) -> Prompts:
    """The network's own prompts with the points of some classes replaced; of the same kind. Shape: a batch of one."""
    if not points:
        return own
    own_count = 0 if own.points_xy is None else own.points_xy.shape[2]
    count = max(own_count, *(len(listed) for listed in points.values()))
    xy = torch.full((1, classes, count, 2), torch.nan)
    signs = torch.zeros(1, classes, count)
    if own.points_xy is not None and own.point_labels is not None:
        xy[:, :, :own_count], signs[:, :, :own_count] = own.points_xy, own.point_labels.to(signs)
    for index, listed in points.items():
        xy[0, index - 1] = torch.nan
        for place, point in enumerate(listed):
            xy[0, index - 1, place] = torch.tensor(image.pixel(point.voxel))
            signs[0, index - 1, place] = float(point.positive)
    return replace(own, points_xy=xy if count else None, point_labels=signs if count else None)


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
