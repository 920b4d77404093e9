"""Cross-entropy and Dice on class logits, as BLO-SAM and SAMed weigh them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.keys import IGNORE_INDEX


class CEDiceLoss(nn.Module):
    """(1 - dice_weight) * CE + dice_weight * Dice over all classes and background (BLO-SAM; AM-SAM, Eq. 5).

    Dice of class k is 1 - (2 sum p t + e) / (sum p^2 + sum t^2 + e) within each sample, so that neither the batch size
    nor the number of processes changes the loss. Labels of another size than the logits are resized (nearest).

    Args:
        dice_weight: lambda, in [0, 1].
        smooth: e.
        batch: take the sums over the batch instead of each sample, so that samples without a class, whose Dice says
            little, do not weigh as much as those with it.

    Shape: logits (B, C, h, w), label (B, 1, H, W) class indices, IGNORE_INDEX where nothing is scored -> scalar.

    Raises:
        ValueError: dice_weight outside [0, 1], or a label that is not (B, 1, H, W).
    """

    def __init__(self, dice_weight: float = 0.8, smooth: float = 1e-5, batch: bool = False) -> None:
        super().__init__()
        if not 0 <= dice_weight <= 1:
            raise ValueError(f"dice_weight must lie in [0, 1], got {dice_weight}.")
        self.dice_weight, self.smooth, self.over = dice_weight, smooth, (0, 2, 3) if batch else (2, 3)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss, a scalar."""
        label = label_at(logits, label)
        scored = (label != IGNORE_INDEX)[:, None]  # (B, 1, h, w)
        entropy = F.cross_entropy(logits.float(), label, ignore_index=IGNORE_INDEX, reduction="none")
        entropy = entropy.sum((1, 2)) / scored.sum((1, 2, 3)).clamp_min(1)  # per sample
        classes = torch.arange(logits.shape[1], device=label.device).reshape(1, -1, 1, 1)
        target = (label[:, None] == classes).float()  # (B, C, h, w); IGNORE_INDEX is none of them
        probability = logits.float().softmax(1) * scored
        overlap = (probability * target).sum(self.over)
        sizes = probability.square().sum(self.over) + target.sum(self.over)
        dice = 1 - (2 * overlap + self.smooth) / (sizes + self.smooth)  # (B, C), or (C,) of the batch
        return (1 - self.dice_weight) * entropy.mean() + self.dice_weight * dice.mean()


def label_at(logits: Tensor, label: Tensor) -> Tensor:
    """The label at the logits' resolution, nearest. Shape (B, 1, H, W) -> (B, h, w), int64.

    Raises:
        ValueError: label is not (B, 1, H, W).
    """
    if label.ndim != 4 or label.shape[0] != logits.shape[0] or label.shape[1] != 1:
        raise ValueError(f"label must have shape ({logits.shape[0]}, 1, H, W), got {tuple(label.shape)}.")
    if label.shape[-2:] != logits.shape[-2:]:
        label = F.interpolate(label.float(), logits.shape[-2:], mode="nearest-exact")
    return label[:, 0].long()
