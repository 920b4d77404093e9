"""What a network answers to a person's edits of a slice, with its own prompts computed once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amsam_monai.networks.prompts import Prompts, Segmentation
from amsam_monai.networks.systems.system import System
from amsam_monai.segment.blank import background_where, blank
from amsam_monai.segment.embeddings_lru import EmbeddingLRU
from amsam_monai.segment.flips import flip_prompts, flip_sets, mean_answer
from amsam_monai.session.edits import ClassEdits
from amsam_monai.session.image import SessionImage
from amsam_monai.session.network_prompts import boxes_of, lassoed_masks, with_boxes, with_classes, with_points

ABSENT_MARGIN = -20.0  # a class this far below background everywhere was left out, not weighed


@dataclass
class _Last:
    """The last answers, to which a click adds only the classes that it is about."""

    number: int
    edits: dict[int, ClassEdits]
    answers: list[Segmentation]


@dataclass
class _Base:
    """The network's own prompts of a slice and of its flips, given a person's boxes; and the classes left out.

    Prompts are in pixels of the slice as it is turned. Shape: absent (K,), bool.
    """

    boxes: tuple[object, ...]
    prompts: list[Prompts]
    absent: Tensor


@dataclass
class _Seen:
    """A slice as the network sees it, and whether it is blank. Shape: pixels (1, 3, H, W), empty (1,)."""

    number: int
    pixels: Tensor
    empty: Tensor


class SliceAnswers:
    """A network on the slices of one image, averaged over flips where there are any.

    A person's points replace the network's own in the prompts that the network gave back, which it takes again as
    they are; a person's box makes the network prompt itself anew, inside it. In a flip the network finds prompts of
    its own; what a person edited is turned along with it.

    Args:
        net: a system in evaluation mode.
        image: the open image.
        cache: where embeddings are kept.
        lock: taken while the network runs.
        flips: as of `SliceInferer`: a slice then costs as many embeddings, and a click as many decodings, as there
            are turned images, the slice as it is included.
        observe: is shown a slice's number, the logits (1, K+1, H, W) of each answer, and those of the image and of
            each of its flips, turned back.
    """

    def __init__(
        self,
        net: System,
        image: SessionImage,
        cache: EmbeddingLRU,
        lock: threading.Lock,
        flips: Sequence[str] = (),
        *,
        observe: Callable[[int, Tensor, Sequence[Tensor]], None] | None = None,
    ) -> None:
        self.net, self.image, self.cache, self.lock = net, image, cache, lock
        self.observe = observe
        self.turns = flip_sets(flips)  # the slice as it is comes first
        self._automatic: dict[int, _Base] = {}
        self._boxed: dict[int, _Base] = {}
        self._last: _Last | None = None
        self._seen: _Seen | None = None  # the last slice: clicks come one after the other on it

    def embedding(self, number: int, turn: tuple[int, ...] = ()) -> Tensor:
        """The embedding of a slice turned over along dimensions, from the cache or computed. Shape (1, 256, g, g)."""

        def compute() -> Tensor:
            pixels = turned(self._pixels(number), turn)
            with self.lock, torch.no_grad():
                return self.net.encode(pixels).cpu()

        key = (self.image.key, id(self.net), self.image.settings, number, turn)
        return self.cache.get(key, compute).to(self.net.sam.pixel_mean.device)

    def known(self, number: int, edits: Mapping[int, ClassEdits]) -> Prompts | None:
        """The network's own prompts for a slice, where they were computed for these boxes."""
        base = self._boxed.get(number) if boxes_of(edits) else self._automatic.get(number)
        return base.prompts[0] if base and base.boxes == boxes_of(edits) else None

    def automatic(self, number: int) -> Prompts | None:
        """The network's own prompts for a slice without a person's boxes, where they were computed."""
        base = self._automatic.get(number)
        return base.prompts[0] if base else None

    def own_prompts(self, number: int, edits: Mapping[int, ClassEdits]) -> Prompts:
        """The network's own prompts for a slice, given a person's boxes; computed where they are not known."""
        return self._base(number, edits)[1].prompts[0]

    def answer(self, number: int, edits: Mapping[int, ClassEdits]) -> Segmentation:
        """The network's answer for a slice with a person's edits; a blank slice is background, whatever they are."""
        answers, base = self._base(number, edits)
        pointed = {index: edit.points for index, edit in edits.items() if edit.points is not None}
        lassoed = any(edit.outlines for edit in edits.values())
        if pointed or lassoed:
            shown = with_points(self.image, base.prompts[0], pointed, self.net.num_classes)
            asked = self._asked(base, shown, list(pointed))
            answers = self._changed_classes(number, edits, self._with_masks(asked, edits) if lassoed else asked)
        elif answers is None:  # asked before: ask the same again, so that the answer is the same
            answers = self._segment(number, self._boxes(number, edits))
        automatic = self._automatic[number]
        left_out = [index for index in range(1, self.net.num_classes + 1) if index not in edits]
        left_out = [index for index in left_out if bool(automatic.absent[index - 1])]
        if edits and left_out:
            for answer in answers:
                answer.logits[:, left_out] = answer.logits[:, :1].amin() - 30.0
        self._last = _Last(number, dict(edits), answers)
        mean = mean_answer(answers)
        empty = self._look(number).empty

        def told(logits: Tensor) -> Tensor:
            return background_where(empty.to(logits.device), logits) if empty else logits

        logits = told(mean.logits)
        if self.observe is not None:
            self.observe(number, logits, [told(one.logits) for one in answers])
        return replace(mean, logits=logits, objects=answers[0].objects)
        return replace(mean, logits=logits, objects=answers[0].objects)

    def _changed_classes(
        self, number: int, edits: Mapping[int, ClassEdits], asked: list[Prompts]
    ) -> list[Segmentation]:
        """The answers to prompts; of a network that decodes classes alone only those that changed are asked."""
        last = self._last
        if not self.net.classes_alone or last is None or last.number != number:
            return self._segment(number, asked)
        classes = [k for k in range(1, self.net.num_classes + 1) if edits.get(k) != last.edits.get(k)]
        if boxes_of(edits) != boxes_of(last.edits) or not classes:
            return self._segment(number, asked)
        parts = self._segment(number, asked, classes)
        return [with_parts(whole, part, classes) for whole, part in zip(last.answers, parts, strict=True)]

    def _base(self, number: int, edits: Mapping[int, ClassEdits]) -> tuple[list[Segmentation] | None, _Base]:
        """The network's prompts given a person's boxes; and the answers, where they had to be computed."""
        answers: list[Segmentation] | None = None
        if number not in self._automatic:
            answers = self._segment(number, None)
            self._last = _Last(number, {}, answers)
            logits = mean_answer(answers).logits
            above = (logits[0, 1:] - logits[0, :1]).flatten(1).amax(1)
            self._automatic[number] = _Base((), used_by(answers), (above < ABSENT_MARGIN).cpu())
        automatic, boxes = self._automatic[number], boxes_of(edits)
        if not boxes:
            return answers, automatic
        if number in self._boxed and self._boxed[number].boxes == boxes:
            return None, self._boxed[number]
        answers = self._segment(number, self._boxes(number, edits))
        self._boxed[number] = _Base(boxes, used_by(answers), automatic.absent)
        return answers, self._boxed[number]

    def _boxes(self, number: int, edits: Mapping[int, ClassEdits]) -> list[Prompts] | None:
        """What the network is asked without points: nothing, or a person's boxes beside its own."""
        boxed = [index for index, edit in edits.items() if edit.boxed]
        if not boxed:
            return None
        base = self._automatic[number]
        shown = with_boxes(self.image, base.prompts[0], edits, self.net.num_classes)
        own = [Prompts(box_xyxy=prompts.box_xyxy, object_boxes=prompts.object_boxes) for prompts in base.prompts]
        return [with_classes(one, prompts, boxed) for one, prompts in zip(own, self._turned(shown), strict=True)]

    def _asked(self, base: _Base, shown: Prompts, edited: list[int]) -> list[Prompts]:
        """The prompts that a person sees, for the slice and its flips.

        Where classes are prompted alone, those that nobody edited keep the flip's own prompts.
        """
        asked = self._turned(shown)
        if not self.net.classes_alone:
            return asked
        return [shown, *(with_classes(*pair, edited) for pair in zip(base.prompts[1:], asked[1:], strict=True))]

    def _with_masks(self, asked: list[Prompts], edits: Mapping[int, ClassEdits]) -> list[Prompts]:
        """Prompts of the slice and its flips with what a person's lassos hold as mask prompts."""
        masks = lassoed_masks(self.image, edits, self.net.num_classes)
        return [
            replace(prompts, mask=self.net.mask_prompt(turned(masks, turn)))
            for prompts, turn in zip(asked, self.turns, strict=True)
        ]

    def _turned(self, prompts: Prompts) -> list[Prompts]:
        """Prompts of the slice as they lie in it and in each of its flips."""
        return [prompts, *(flip_prompts(prompts, self.image.slice_hw, turn) for turn in self.turns[1:])]

    def _segment(
        self, number: int, prompts: list[Prompts] | None, classes: Sequence[int] | None = None
    ) -> list[Segmentation]:
        """The answers for a slice and its flips, turned back; their prompts are those of the turned image."""
        pixels = self._pixels(number)
        answers = []
        for place, turn in enumerate(self.turns):
            embedding = self.embedding(number, turn)
            asked = None if prompts is None else prompts[place].to(pixels.device)
            with self.lock:
                answer = self.net.segment(turned(pixels, turn), asked, embedding, classes=classes)
            answers.append(replace(answer, logits=turned(answer.logits, turn)))
        return answers

    def _pixels(self, number: int) -> Tensor:
        return self._look(number).pixels

    def _look(self, number: int) -> _Seen:
        if (seen := self._seen) is None or seen.number != number:
            pixels = self.image.pixels(number)
            empty = blank(self.image.own(pixels))
            self._seen = seen = _Seen(number, pixels.to(self.net.sam.pixel_mean.device), empty)
        return seen


def turned(image: Tensor, turn: tuple[int, ...]) -> Tensor:
    """An image turned over along dimensions; itself where there are none."""
    return image.flip(turn) if turn else image


def used_by(answers: Sequence[Segmentation]) -> list[Prompts]:
    """The prompts of answers, in main memory."""
    return [answer.prompts.to("cpu") for answer in answers]


def with_parts(whole: Segmentation, part: Segmentation, classes: Sequence[int]) -> Segmentation:
    """An answer with logits and quality of some classes taken from another, whose logits become those of the answer."""
    logits = part.logits
    for index in set(range(logits.shape[1])) - set(classes):
        logits[:, index] = whole.logits[:, index]
    quality = whole.quality
    if quality is not None and part.quality is not None:
        places = [index - 1 for index in classes]
        quality = quality.clone()
        quality[:, places] = part.quality[:, places]
    return replace(part, logits=logits, quality=quality)
