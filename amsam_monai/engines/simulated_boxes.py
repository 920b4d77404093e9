"""Box prompts for training: simulated from the label, as imperfect as the detector's."""

from __future__ import annotations

import torch
from torch import Tensor

from amsam_monai.networks.prompts.boxes import class_boxes, jitter_boxes, scale_for_iou


class SimulatedBoxes:
    """Boxes of the labelled classes, moved so that they overlap the true ones as a detector's do.

    Args:
        num_classes: K, foreground classes.
        mean_iou: mean overlap with the true box, in (0, 1]; what the detector reaches on images it was not trained on.
        p_drop: share of boxes that are left out, so that the learned prompt alone is trained too.
        p_none: share of images without any box, beside.

    Shape: label (B, 1, H, W) -> boxes (B, K, 4) in pixels; NaN = no box.
    """

    def __init__(
        self, num_classes: int = 1, *, mean_iou: float = 0.8, p_drop: float = 0.1, p_none: float = 0.0
    ) -> None:
        self.num_classes = num_classes
        self.scale = scale_for_iou(mean_iou)
        self.p_drop, self.p_none = p_drop, p_none

    def __call__(self, label: Tensor) -> Tensor:
        """Boxes, drawn anew at each call from torch's random numbers."""
        boxes = jitter_boxes(class_boxes(label, self.num_classes), scale=self.scale, p_drop=self.p_drop)
        none = torch.rand(len(boxes), 1, 1, device=boxes.device) < self.p_none
        return boxes.masked_fill(none, torch.nan)
