"""How well a detector's boxes fit those of held-out masks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amsam_monai.networks.detector.detector import BoxDetector
from amsam_monai.networks.prompts.boxes import box_iou, class_boxes


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


def score_detector(detector: BoxDetector, images: Iterable[Tensor], labels: Iterable[Tensor]) -> DetectorScore:
    """Compare the detector's boxes with those of masks; images (3, H, W) each, labels (H, W) or (1, H, W) each."""
    overlaps, false_boxes, absent = [], 0, 0
    for image, label in zip(images, labels, strict=True):
        boxes = detector(torch.as_tensor(image)[None].float())[0]
        true = class_boxes(torch.as_tensor(label).reshape(1, 1, *label.shape[-2:]), detector.num_classes)
        present = ~true.isnan().any(dim=-1)
        overlaps.append(box_iou(boxes, true)[present])
        false_boxes += int((~boxes.isnan().any(dim=-1) & ~present).sum())
        absent += int((~present).sum())
    return DetectorScore(torch.cat(overlaps).numpy() if overlaps else np.zeros(0), false_boxes, absent)
