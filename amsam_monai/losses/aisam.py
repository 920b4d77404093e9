"""What AI-SAM trains on: masks, points, presence and the predicted quality, summed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.keys import IGNORE_INDEX
from amsam_monai.losses.low_res import label_on_grid
from amsam_monai.losses.prompt_heuristic import PromptHeuristicLoss
from amsam_monai.losses.segmentation import CEDiceLoss


class AISAMLoss(nn.Module):
    """Mask loss + presence BCE + prompt heuristic loss + error of the predicted IoU (AI-SAM, arXiv:2312.03119).

    Takes what `WithLossInputs` gives. The paper states neither the mask loss nor the weight of the classifier's loss;
    here they are CE + Dice over all classes, as in SAMed, and 1.

    Args:
        image_size: side of the system's square.
        resize: the system's resize mode.
        mask_loss: takes logits and class indices; None is `CEDiceLoss()`.
        prompt_loss: takes weights, class indices and features; None is `PromptHeuristicLoss()`.
        presence_weight: weight of the classifier's loss.
        prompt_weight: weight of the prompt heuristic loss; 0 trains points by the mask loss alone.
        quality_weight: weight of the squared error of the predicted IoU.

    Shape: outputs as `WithLossInputs` describes them, label (B, 1, H, W) class indices -> scalar.
    """

    def __init__(
        self,
        *,
        image_size: int,
        resize: str = "pad",
        mask_loss: nn.Module | None = None,
        prompt_loss: nn.Module | None = None,
        presence_weight: float = 1.0,
        prompt_weight: float = 1.0,
        quality_weight: float = 1.0,
    ) -> None:
        super().__init__()
        SquareFrame(1, 1, 1, resize)  # refuses an unknown mode
        self.image_size, self.resize = image_size, resize
        self.mask_loss = CEDiceLoss() if mask_loss is None else mask_loss
        self.prompt_loss = PromptHeuristicLoss() if prompt_loss is None else prompt_loss
        self.weights = {
            "mask": 1.0,
            "presence": presence_weight,
            "prompt": prompt_weight,
            "quality": quality_weight,
        }

    def forward(self, outputs: Mapping[str, Tensor], label: Tensor) -> Tensor:
        """The weighted sum. A term of weight 0 takes part, so that every parameter has a gradient."""
        terms = self.terms(outputs, label)
        return torch.stack([self.weights[name] * terms[name] for name in self.weights]).sum()

    def terms(self, outputs: Mapping[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """Each loss by itself, unweighted."""
        frame = SquareFrame(label.shape[-2], label.shape[-1], self.image_size, self.resize)
        square = frame.label(label, IGNORE_INDEX)
        logits = outputs["logits"]
        rows, columns = logits.shape[-2:]
        at_logits = label if logits.shape[-2:] == label.shape[-2:] else label_on_grid(label, rows, columns, frame)
        return {
            "mask": self.mask_loss(logits, at_logits),
            "presence": presence_loss(outputs["presence_logits"], label),
            "prompt": self.prompt_loss(outputs["weights"], square, outputs["features"]),
            "quality": quality_loss(outputs["quality"], logits, at_logits),
        }


def presence_loss(logits: Tensor, label: Tensor) -> Tensor:
    """BCE of each class being in the label. Shape logits (B, C), label (B, 1, H, W) -> scalar."""
    classes = torch.arange(logits.shape[1], device=label.device).reshape(1, -1, 1, 1)
    return F.binary_cross_entropy_with_logits(logits.float(), (label == classes).flatten(2).any(-1).float())


def quality_loss(predicted: Tensor, logits: Tensor, label: Tensor) -> Tensor:
    """Squared error of the predicted IoU of each class that the label or the prediction has.

    Shape: predicted (B, C), logits (B, C, h, w), label (B, 1, h, w) -> scalar.
    """
    classes = torch.arange(logits.shape[1], device=label.device).reshape(1, -1, 1, 1)
    scored = label != IGNORE_INDEX
    found = (logits.detach().argmax(1, keepdim=True) == classes) & scored
    wanted = label == classes
    union = (found | wanted).flatten(2).sum(-1)
    iou = (found & wanted).flatten(2).sum(-1) / union.clamp_min(1)
    error = (predicted.float() - iou).square().where(union > 0, 0)
    return error.sum() / (union > 0).sum().clamp_min(1)
