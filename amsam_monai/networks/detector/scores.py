"""How well a detector's boxes fit those of held-out masks: the box of each class, and the boxes of its objects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amsam_monai.networks.detector.embedding import boxes_of
from amsam_monai.networks.detector.voting import VotingDetector
from amsam_monai.networks.prompts.boxes import box_iou, class_boxes, instance_boxes, instances_of

Encode = Callable[[Tensor], Tensor]
SIZES = (("small", 0.0, 1 / 8), ("medium", 1 / 8, 3 / 8), ("large", 3 / 8, math.inf))  # of a box in the image's longest
NUMBERS = (("none", 0, 1), ("one", 1, 2), ("two to four", 2, 5), ("five and more", 5, math.inf))


@dataclass(frozen=True)
class DetectorScore:
    """How well a detector finds the boxes of held-out masks; one entry per image and class that is present.

    Args:
        iou: overlap of the top box with the true one, 0 where there was none.
        false_boxes: boxes given for classes that are absent.
        absent: class-image pairs where the class is absent.
    """

    iou: np.ndarray
    false_boxes: int
    absent: int

    @property
    def mean_iou(self) -> float:
        """Mean overlap."""
        return float(self.iou.mean()) if len(self.iou) else math.nan

    def recall(self, at: float = 0.5) -> float:
        """Share of objects whose box overlaps by at least `at`."""
        return float((self.iou >= at).mean()) if len(self.iou) else math.nan


@dataclass(frozen=True)
class ObjectScore:
    """How a detector finds each object of held-out masks: an entry for each true one, and one for each box given.

    A box and a true one belong to each other at most once, the surest box first.

    Args:
        recalled: whether a true object was found.
        iou: overlap of the box that fits it best, 0 where there is none.
        size: of a true object: the longest side of its box in the longest side of the image.
        number: of objects of its class in its image.
        right: whether a box given is of an object.
        found_size: of a box given.
        found_number: true objects of its class in its image.

    Shape: the first four (N,), the others (M,).
    """

    recalled: np.ndarray
    iou: np.ndarray
    size: np.ndarray
    number: np.ndarray
    right: np.ndarray
    found_size: np.ndarray
    found_number: np.ndarray

    @property
    def recall(self) -> float:
        """Share of true objects that were found, NaN without any."""
        return _mean(self.recalled)

    @property
    def precision(self) -> float:
        """Share of boxes that are of an object, NaN without any."""
        return _mean(self.right)

    def groups(self) -> dict[str, dict[str, float]]:
        """Objects, recall and mean IoU, boxes and precision: of all, by size, and by number in the image."""
        rows = {"all": self._row(np.ones(len(self.size), bool), np.ones(len(self.found_size), bool))}
        for name, low, high in SIZES:
            rows[name] = self._row(_within(self.size, low, high), _within(self.found_size, low, high))
        for name, low, high in NUMBERS:
            rows[name] = self._row(_within(self.number, low, high), _within(self.found_number, low, high))
        return rows

    def _row(self, true: np.ndarray, found: np.ndarray) -> dict[str, float]:
        return {
            "objects": int(true.sum()),
            "recall": _mean(self.recalled[true]),
            "iou": _mean(self.iou[true]),
            "boxes": int(found.sum()),
            "precision": _mean(self.right[found]),
        }


def score_detector(
    detector: VotingDetector, images: Iterable[Tensor], labels: Iterable[Tensor], *, encode: Encode | None = None
) -> DetectorScore:
    """Compare the box of each class with that of masks; images (3, H, W) each, labels (H, W) or (1, H, W) each.

    `encode`, image (B, 3, H, W) to embedding, is for a detector that reads it.
    """
    overlaps, false_boxes, absent = [], 0, 0
    for image, label in zip(images, labels, strict=True):
        boxes = _asked(detector, image, encode)[0]
        true = class_boxes(torch.as_tensor(label).reshape(1, 1, *label.shape[-2:]), detector.num_classes)
        present = ~true.isnan().any(dim=-1)
        overlaps.append(box_iou(boxes, true)[present])
        false_boxes += int((~boxes.isnan().any(dim=-1) & ~present).sum())
        absent += int((~present).sum())
    return DetectorScore(torch.cat(overlaps).numpy() if overlaps else np.zeros(0), false_boxes, absent)


def score_objects(
    detector: VotingDetector,
    images: Iterable[Tensor],
    labels: Iterable[Tensor],
    *,
    per: str | Sequence[str] = "component",
    at: float = 0.5,
    min_pixels: int = 16,
    encode: Encode | None = None,
) -> ObjectScore:
    """Compare the boxes of all objects with those of masks.

    Args:
        detector: with `objects`.
        images: in [0, 1].
        labels: class indices.
        per: what an object is, see `instances_of`.
        at: IoU from which on a box is of an object.
        min_pixels: smaller parts are no objects.
        encode: image (B, 3, H, W) to embedding, for a detector that reads it.

    Shape: images (3, H, W) each, labels (H, W) or (1, H, W) each.
    """
    true_rows: list[tuple[float, ...]] = []
    found_rows: list[tuple[float, ...]] = []
    for image, label in zip(images, labels, strict=True):
        given, confidence = _asked(detector, image, encode, objects=True)
        array = np.asarray(label).reshape(label.shape[-2:])
        numbered, classes = instances_of(array, detector.num_classes, per=per, min_pixels=min_pixels)
        boxes = torch.from_numpy(instance_boxes(numbered, len(classes)))
        for k in range(detector.num_classes):
            there = ~given[0, k].isnan().any(-1)
            order = confidence[0, k][there].argsort(descending=True)
            own, true = given[0, k][there][order].cpu(), boxes[torch.from_numpy(classes == k + 1)]
            overlap = box_iou(own[:, None], true[None])  # (M, N)
            matched = _matches(overlap, at)
            best = overlap.amax(0).tolist() if len(own) else [0.0] * len(true)
            for n, size in enumerate(_sizes(true, array.shape)):
                true_rows.append((n in matched.values(), best[n], size, len(true)))
            for m, size in enumerate(_sizes(own, array.shape)):
                found_rows.append((m in matched, size, len(true)))
    true_side, found_side = np.array(true_rows).reshape(-1, 4), np.array(found_rows).reshape(-1, 3)
    recalled, overlaps, sizes, numbers = true_side.T
    right, found_sizes, found_numbers = found_side.T
    return ObjectScore(recalled > 0, overlaps, sizes, numbers, right > 0, found_sizes, found_numbers)


def _asked(detector: VotingDetector, image: Tensor, encode: Encode | None, objects: bool = False) -> Any:
    one = torch.as_tensor(image)[None].float()
    if encode is None:
        return detector.objects(one) if objects else detector(one)
    return boxes_of(detector, one, encode(one), objects=objects)


def _matches(overlap: Tensor, at: float) -> dict[int, int]:
    """Box -> true object, the first boxes first, each the best that is left."""
    left, matched = overlap.clone(), {}
    for m in range(len(left)):
        if left.shape[1] and float(left[m].max()) >= at:
            matched[m] = int(left[m].argmax())
            left[:, matched[m]] = -1
    return matched


def _sizes(boxes: Tensor, shape: Sequence[int]) -> list[float]:
    return ((boxes[:, 2:] - boxes[:, :2]).amax(-1) / max(shape)).tolist() if len(boxes) else []


def _within(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values < high)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
