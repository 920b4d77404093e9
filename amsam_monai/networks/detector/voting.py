"""One box per class, or one for each object, from the dense boxes of a frozen detector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from amsam_monai.networks.detector.dark_object import dark_boxes
from amsam_monai.networks.prompts.boxes import box_iou
from amsam_monai.networks.prompts.prompt_sets import may_read_back


class VotingDetector(nn.Module, ABC):
    """The box of highest confidence per class; `objects` gives a box for each object. Subclasses say what they look at.

    The dense boxes of one class vote: the box is the score-weighted mean of those that overlap the best one.

    Args:
        model: gives dense boxes and scores.
        class_names: names of the classes that it tells apart.
        confidence: floor; below it a class counts as not detected.
        classes: which of its classes give boxes, in this order; None is all.
        flips: also look at the mirrored image.
        vote_iou: overlap with the best box at which a box votes; 1 keeps the best box alone.
        snap_to_dark_object: replace each box by that of the dark object under it (`dark_boxes`); for skin lesions.
        object_confidence: floor of a class's second and further objects; that of the first is `confidence`.
        object_overlap: IoU with a surer object from which on a box is that object's.
        most_objects: boxes of a class in an image, at most.
        cases: ids of the cases that it was fitted on, kept with it.

    Shape: image (B, 3, H, W) in [0, 1] -> boxes (B, K, 4) x1, y1, x2, y2 in pixels of image, NaN = none;
        confidence (B, K).

    Raises:
        ValueError: a number out of range, or a class that the detector does not have.
    """

    architecture = ""  # as settings name it
    reads_embedding = False  # whether it is to be given the embedding of the image, too

    def __init__(
        self,
        model: nn.Module,
        *,
        class_names: Sequence[str],
        confidence: float = 0.05,
        classes: Sequence[int] | None = None,
        flips: bool = True,
        vote_iou: float = 0.7,
        snap_to_dark_object: bool = False,
        object_confidence: float = 0.25,
        object_overlap: float = 0.6,
        most_objects: int = 32,
        cases: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        chosen = list(range(len(class_names)) if classes is None else classes)
        if any(not 0 <= index < len(class_names) for index in chosen):
            raise ValueError(f"classes must be in 0..{len(class_names) - 1}, got {chosen}.")
        if most_objects < 1 or not 0 < object_overlap <= 1:
            raise ValueError(
                f"most_objects must be at least 1, object_overlap in (0, 1], got {most_objects} and {object_overlap}."
            )
        self.model = model.requires_grad_(False).eval()
        self.class_names = list(class_names)
        self.confidence = confidence
        self.classes = chosen
        self.flips = flips
        self.vote_iou = vote_iou
        self.snap_to_dark_object = snap_to_dark_object
        self.object_confidence, self.object_overlap = object_confidence, object_overlap
        self.most_objects = most_objects
        self.cases = None if cases is None else list(cases)
        self.file: Path | None = None  # that it was read from or written to
        self.sha256: str | None = None  # of that file

    @property
    def num_classes(self) -> int:
        """K, the number of boxes per image."""
        return len(self.classes)

    def train(self, mode: bool = True) -> VotingDetector:
        """Stays in evaluation mode: the detector is frozen."""
        return cast(VotingDetector, super().train(False))

    def config(self) -> dict[str, Any]:
        """What rebuilds the detector around its weights."""
        return {
            "class_names": self.class_names,
            "confidence": self.confidence,
            "classes": self.classes,
            "flips": self.flips,
            "vote_iou": self.vote_iou,
            "snap_to_dark_object": self.snap_to_dark_object,
            "object_confidence": self.object_confidence,
            "object_overlap": self.object_overlap,
            "most_objects": self.most_objects,
            "cases": self.cases,
        }

    @torch.no_grad()
    def forward(self, image: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Boxes and confidences of an image; see the class."""
        return self._snapped(image, *self.chosen(*self.looks(image, embedding), edges_of(image)))

    @torch.no_grad()
    def objects(self, image: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A box for each object of each class, the surest first; a class's first is that of `forward`.

        Each box is the vote of those that overlap the surest one left, which then are that object's and give no other.

        Shape: image (B, 3, H, W) in [0, 1] -> boxes (B, K, M, 4), NaN = none; confidence (B, K, M), 0 = none.
        """
        return self._snapped(image, *self.chosen(*self.looks(image, embedding), edges_of(image), objects=True))

    @abstractmethod
    def looks(self, image: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All boxes (B, A, 4) in pixels of the image, and their scores (B, A, K)."""

    def chosen(self, boxes: Tensor, scores: Tensor, edges: Tensor, *, objects: bool = False) -> tuple[Tensor, Tensor]:
        """The boxes that all boxes vote for, within the image; NaN below the floor and where nothing lies in the image.

        Args:
            boxes: as `looks` gives them.
            scores: of each box for each class.
            edges: of the image, see `edges_of`.
            objects: a box for each object, not one for each class.

        Shape: boxes (B, A, 4), scores (B, A, K), edges (4,) -> (B, K, 4), (B, K), or (B, K, M, 4), (B, K, M).
        """
        floor: float | Tensor = self.confidence
        if objects:
            found, confidence = vote_objects(
                boxes,
                scores,
                self.vote_iou,
                overlap=self.object_overlap,
                most=self.most_objects,
                floor=self.object_confidence,
            )
            floor = confidence.new_full(confidence.shape[-1:], max(self.object_confidence, 1e-9))
            floor[0] = self.confidence
        else:
            found, confidence = vote(boxes, scores, self.vote_iou)
        found = torch.minimum(found.clamp(min=0), edges)
        nothing = (found[..., 2:] <= found[..., :2]).any(-1)
        return found.masked_fill(((confidence < floor) | nothing)[..., None], torch.nan), confidence

    def _snapped(self, image: Tensor, boxes: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, K, ..., 4), each replaced by that of the dark object under it where that is wanted."""
        if self.snap_to_dark_object:
            boxes = dark_boxes(image, boxes.flatten(1, -2)).reshape(boxes.shape)
        return boxes, confidence


def edges_of(image: Tensor) -> Tensor:
    """Width and height of images (B, 3, H, W), twice, as boxes have their edges. Shape (4,)."""
    return torch.tensor([image.shape[-1], image.shape[-2]] * 2, dtype=image.dtype, device=image.device)


def with_mirror(look: Callable[[Tensor], tuple[Tensor, Tensor]], seen: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """What is found in a square, and in its mirror image, whose boxes are turned back.

    Args:
        look: gives boxes (B, A, 4) in pixels of the square, and scores (B, A, K).
        seen: the square, or its embedding.
        side: of the square in pixels.

    Shape: seen (B, C, h, h) -> boxes (B, 2A, 4), scores (B, 2A, K).
    """
    boxes, scores = look(seen)
    mirrored, more = look(seen.flip(-1))
    x1, y1, x2, y2 = mirrored.unbind(dim=-1)
    back = torch.stack([side - x2, y1, side - x1, y2], dim=-1)
    return torch.cat([boxes, back], dim=1), torch.cat([scores, more], dim=1)


def vote(boxes: Tensor, scores: Tensor, vote_iou: float) -> tuple[Tensor, Tensor]:
    """The mean of the boxes that overlap the best one, weighted by score, and the best score.

    Shape: boxes (B, A, 4), scores (B, A, K) -> (B, K, 4), (B, K).
    """
    confidence, index = scores.max(dim=1)  # (B, K)
    best = boxes.gather(1, index[..., None].expand(-1, -1, 4))  # (B, K, 4)
    overlap = box_iou(boxes[:, None], best[:, :, None])  # (B, K, A)
    weight = scores.transpose(1, 2) * (overlap >= vote_iou)
    total = weight.sum(dim=-1, keepdim=True)
    mean = weight @ boxes / total.clamp(min=1e-9)
    return torch.where(total > 0, mean, best), confidence


def vote_objects(
    boxes: Tensor, scores: Tensor, vote_iou: float, *, overlap: float, most: int, floor: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The votes for one object after the other, the surest first; boxes that overlap one by `overlap` are used up.

    On a processor it ends with the last box above the floor; elsewhere, where that would have to be read back, after
    `most` rounds.

    Args:
        boxes: of all classes.
        scores: of each box for each class.
        vote_iou: see `vote`.
        overlap: IoU with the surest box left.
        most: M, objects of a class.
        floor: of the second and further objects.

    Shape: boxes (B, A, 4), scores (B, A, K) -> (B, K, M, 4), (B, K, M), with fewer than `most` where there are fewer.
    """
    found: list[Tensor] = []
    sure: list[Tensor] = []
    for _ in range(most):
        box, confidence = vote(boxes, scores, vote_iou)
        if found and may_read_back(scores) and not bool((confidence >= max(floor, 1e-9)).any()):
            break
        found.append(box)
        sure.append(confidence)
        surest = boxes.gather(1, scores.argmax(dim=1)[..., None].expand(-1, -1, 4))  # (B, K, 4)
        used = box_iou(boxes[:, :, None], surest[:, None]) >= overlap  # (B, A, K)
        scores = scores.masked_fill(used | (box_iou(boxes[:, :, None], box[:, None]) >= overlap), 0)
    return torch.stack(found, dim=2), torch.stack(sure, dim=2)
