"""Mask calibration by the Hadamard product of mask tokens and image features (AM-SAM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CALIBRATION_MODES = ("none", "paper", "fused")


class MaskCalibration(nn.Module):
    """Mix SAM's mask with one fused from its un-summed channels (AM-SAM, arXiv:2410.09714, Eq. 9-12).

    SAM's mask is the dot product M = sum_i H_i U_i of token weights H and features U. With the Hadamard terms
    R_i = H_i U_i the calibrated mask is alpha * M + (1 - alpha) * fuse(R).

    - "none": M, SAM's own mask.
    - "paper": fuse(R) = mean_i R_i within each sample. This is exactly s * M with s = alpha + (1 - alpha) / C, a
      rescale that changes no decision (the paper's mean over the batch would mix images, and is not offered).
    - "fused": fuse(R) = mean_i R_i + v^T gelu(V R) at every pixel. With v = 0 at the start it equals "paper"; once
      trained it weighs channels non-linearly, which the dot product cannot.

    Args:
        channels: C, width of both inputs.
        mode: one of CALIBRATION_MODES.
        alpha: weight of SAM's own mask, in [0, 1].
        hidden: rows of V.

    Shape: hyper (n, M, C), features (n, C, H, W) -> logits (n, M, H, W).

    Raises:
        ValueError: unknown mode, or alpha outside [0, 1].
    """

    def __init__(self, channels: int = 32, *, mode: str = "fused", alpha: float = 0.7, hidden: int = 8) -> None:
        super().__init__()
        if mode not in CALIBRATION_MODES:
            raise ValueError(f"calibration must be one of {', '.join(CALIBRATION_MODES)}, got {mode!r}.")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}.")
        self.channels, self.mode, self.alpha = channels, mode, alpha
        if mode == "fused":
            self.lift = nn.Linear(channels, hidden)  # V
            self.drop = nn.Linear(hidden, 1, bias=False)  # v
            nn.init.zeros_(self.drop.weight)

    def forward(self, hyper: Tensor, features: Tensor) -> Tensor:
        """Calibrated mask logits."""
        if hyper.shape[-1] != features.shape[1]:
            raise ValueError(f"hyper and features must share channels, got {hyper.shape[-1]} and {features.shape[1]}.")
        if self.mode != "fused":
            dot = torch.einsum("nmc,nchw->nmhw", hyper, features)
            return dot if self.mode == "none" else self._scale * dot
        rows = torch.cat([torch.ones_like(self.lift.weight[:1]), self.lift.weight])  # M is a row of ones times R
        maps = torch.einsum("nmkc,nchw->nmhwk", hyper[:, :, None] * rows, features)  # without making R itself
        dot, lifted = maps[..., 0], maps[..., 1:] + self.lift.bias  # V R + b
        return self._scale * dot + (1 - self.alpha) * self.drop(nn.functional.gelu(lifted))[..., 0]

    @property
    def _scale(self) -> float:
        return self.alpha + (1 - self.alpha) / self.channels
