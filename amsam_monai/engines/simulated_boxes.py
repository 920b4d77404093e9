"""Box prompts for training: simulated from the label, as imperfect as the detector's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from amsam_monai.networks.prompts.boxes import class_boxes, instance_boxes, instances_of, jitter_boxes, scale_for_iou


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


class SimulatedObjects:
    """One object of each class in turn, its box, and the label that this box means: that object alone.

    An object is a connected part of a class (8 neighbours), or a part and its nearest neighbour together, as a detector
    sees two that touch. The class's other parts become background. Boxes are moved as those of `SimulatedBoxes`; where
    one is left out, all of the class is meant.

    Args:
        num_classes: K, foreground classes.
        objects: "one" takes all of a class for its object, "all" its parts; for all classes, or a word for each.
        mean_iou: see `SimulatedBoxes`.
        p_drop: share of boxes that are left out.
        p_join: share of objects that are two parts.
        min_pixels: smaller parts are no objects of their own; they stay in the label as they are.

    Shape: label (B, 1, H, W) -> boxes (B, K, 4) in pixels, NaN = no box; label (B, 1, H, W).

    Raises:
        ValueError: other words, or shares outside [0, 1].
    """

    def __init__(
        self,
        num_classes: int = 1,
        *,
        objects: str | Sequence[str] = "all",
        mean_iou: float = 0.8,
        p_drop: float = 0.1,
        p_join: float = 0.1,
        min_pixels: int = 16,
    ) -> None:
        self.words = [objects] * num_classes if isinstance(objects, str) else list(objects)
        if len(self.words) != num_classes or not set(self.words) <= {"one", "all"}:
            raise ValueError(f"objects must be one, all or a word for each of {num_classes} classes, got {objects!r}.")
        if not 0 <= p_join <= 1:
            raise ValueError(f"p_join must lie in [0, 1], got {p_join}.")
        self.num_classes, self.p_drop, self.p_join, self.min_pixels = num_classes, p_drop, p_join, min_pixels
        self.scale = scale_for_iou(mean_iou)

    def __call__(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and labels, drawn anew at each call from torch's random numbers; for labels in main memory."""
        meant = label.clone()
        boxes = class_boxes(label, self.num_classes)
        dropped = torch.rand(boxes.shape[:2]) < self.p_drop
        for image, k in ((image, k) for image in range(len(label)) for k in range(self.num_classes)):
            if self.words[k] == "all" and not dropped[image, k]:
                chosen = self._object(label[image, 0], k + 1)
                if chosen is not None:
                    boxes[image, k], others = chosen
                    meant[image, 0][others] = 0
        boxes = jitter_boxes(boxes, scale=self.scale)
        return boxes.masked_fill(dropped[..., None].to(boxes.device), torch.nan), meant

    def _object(self, label: Tensor, k: int) -> tuple[Tensor, Tensor] | None:
        """Box (4,) of a random object of a class, and where the others are (H, W); None where it has one part."""
        mask = np.asarray(label.cpu()) == k
        numbered, classes = instances_of(mask.astype(np.int16), 1, per="component", min_pixels=self.min_pixels)
        if len(classes) < 2:
            return None
        boxes = instance_boxes(numbered, len(classes))
        chosen = [int(torch.randint(len(classes), ()))]
        if float(torch.rand(())) < self.p_join:
            chosen.append(_nearest(boxes, chosen[0]))
        box = np.concatenate([boxes[chosen, :2].min(0), boxes[chosen, 2:].max(0)])
        others = (numbered > 0) & ~np.isin(numbered, [index + 1 for index in chosen])
        return torch.from_numpy(box), torch.from_numpy(others)


def _nearest(boxes: np.ndarray, index: int) -> int:
    """The box nearest to another, by the gap between their edges."""
    gaps = np.maximum(boxes[:, :2] - boxes[index, 2:], boxes[index, :2] - boxes[:, 2:]).clip(0)
    apart = np.hypot(*gaps.T)
    apart[index] = np.inf
    return int(apart.argmin())
