"""Binary cross-entropy and Dice of one foreground class, as AutoSAM adds them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.keys import IGNORE_INDEX
from amsam_monai.losses.segmentation import label_at

PROBABILITIES = ("sigmoid", "minmax")


class BCEDiceLoss(nn.Module):
    """BCE + Dice of one class against background (AutoSAM, arXiv:2306.06370, Eq. 2-4).

    Dice is 1 - (2TP + e) / (2TP + FN + FP + e) with soft counts within each sample; BCE is the mean of each sample's
    pixels, so that neither the batch size nor the number of processes changes the loss. For several classes take
    `CEDiceLoss`.

    Args:
        smooth: e; 1 in the paper, 2 in the authors' code.
        probability: "sigmoid", or "minmax" for the authors' code, which stretches each map to [0, 1]: no map can then
            be empty, whatever the image shows.

    Shape: logits (B, 2, h, w), label (B, 1, H, W) of 0, 1 and, where nothing is scored, IGNORE_INDEX -> scalar.

    Raises:
        ValueError: unknown probability, negative smooth, or logits of another number of classes.
    """

    def __init__(self, smooth: float = 1.0, probability: str = "sigmoid") -> None:
        super().__init__()
        if smooth < 0:
            raise ValueError(f"smooth must not be negative, got {smooth}.")
        if probability not in PROBABILITIES:
            raise ValueError(f"probability must be one of {', '.join(PROBABILITIES)}, got {probability!r}.")
        self.smooth, self.probability = smooth, probability

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss, a scalar."""
        if logits.ndim != 4 or logits.shape[1] != 2:
            raise ValueError(
                f"logits must have shape (B, 2, h, w), got {tuple(logits.shape)}; for several classes use CEDiceLoss."
            )
        label = label_at(logits, label)  # (B, h, w)
        scored = label != IGNORE_INDEX
        target = (label * scored).float()
        z = (logits[:, 1] - logits[:, 0]).float()  # log odds
        if self.probability == "sigmoid":
            p = z.sigmoid()
            entropy = F.binary_cross_entropy_with_logits(z, target, reduction="none")
        else:
            low, high = z.amin((1, 2), keepdim=True), z.amax((1, 2), keepdim=True)
            p = (z - low) / (high - low + 1e-6)
            with torch.autocast(z.device.type, enabled=False):  # refused under autocast, but all is float32 here
                entropy = F.binary_cross_entropy(p, target, reduction="none")
        bce = (entropy * scored).sum((1, 2)) / scored.sum((1, 2)).clamp_min(1)  # (B,)
        hits = (p * target).sum((1, 2))
        sizes = (p * scored).sum((1, 2)) + target.sum((1, 2))  # 2TP + FN + FP
        dice = 1 - (2 * hits + self.smooth) / (sizes + self.smooth).clamp_min(1e-12)
        return (bce + dice).mean()
