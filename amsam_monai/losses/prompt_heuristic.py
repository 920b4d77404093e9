"""What AI-SAM asks of its points: inside their object, sharp, and apart from each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.keys import IGNORE_INDEX

AVERAGING = ("points", "classes")
TARGET_REDUCTIONS = ("area", "centre", "corner_bilinear")


class PromptHeuristicLoss(nn.Module):
    """Point correctness, sharpness and diversity (AI-SAM, arXiv:2312.03119, Eq. 1-4).

    With 1_c the class's share of each cell and W a point's weights, which sum to 1:

        L_pc = 1 - (1_c W + gamma) / (1 W + gamma)                     inside the object
        L_ps = 1 - (max(1_c * W) + gamma) / (1_c W + gamma)            one cell
        L_in, L_out = -log(exp(1/tau) / sum exp(cos / tau))            unlike the class's other points; unlike the
                                                                       points of the same index in other classes
        L = alpha_correct L_pc + alpha_sharp L_ps + alpha_diverse (beta_in L_in + beta_out L_out)

    Values are those of the published code. Where the code departs from the paper there is a switch; `published()` sets
    all switches as in the code, for comparison.

    Args:
        gamma: smooths the ratios.
        temperature: tau.
        alpha_correct: weight of L_pc.
        alpha_sharp: weight of L_ps.
        alpha_diverse: weight of the diversity.
        beta_in: weight of L_in.
        beta_out: weight of L_out.
        stop_gradient: stop the gradient at the denominator of L_ps, as the code does; the paper does not mention it.
            With False, L_ps pushes weight out of the object.
        averaging: "points" is the mean over all points of the classes that are present, as in the code. "classes" is
            the mean over the present classes of each image, then over images, as in the paper: an image then counts the
            same however many classes the others in its batch have.
        target_reduction: how masks come to the grid. "area" is the share of each cell that the object covers. "centre"
            is the same, but 0 in cells whose centre, where points lie, the object does not cover, unless it covers no
            centre at all; for objects about as thin as a cell. "corner_bilinear" is the code's: up to half a cell off
            at the borders, and it may miss thin objects.
        absent_in_diversity: let the points of absent classes take part in the diversity, as the code does.

    Shape: weights (B, C, N, h, w); target (B, C, H, W) masks, (B, 1, H, W) floating mask of the second of two classes,
        or (B, 1, H, W) class indices; features (B, C, N, D) -> scalar.

    Raises:
        ValueError: an unknown switch, or shapes that do not fit.
    """

    def __init__(
        self,
        *,
        gamma: float = 0.1,
        temperature: float = 1 / 7,
        alpha_correct: float = 2.0,
        alpha_sharp: float = 1.0,
        alpha_diverse: float = 1.0,
        beta_in: float = 0.2,
        beta_out: float = 0.5,
        stop_gradient: bool = True,
        averaging: str = "points",
        target_reduction: str = "area",
        absent_in_diversity: bool = False,
    ) -> None:
        super().__init__()
        if averaging not in AVERAGING:
            raise ValueError(f"averaging must be one of {AVERAGING}, got {averaging!r}.")
        if target_reduction not in TARGET_REDUCTIONS:
            raise ValueError(f"target_reduction must be one of {TARGET_REDUCTIONS}, got {target_reduction!r}.")
        self.gamma, self.temperature = gamma, temperature
        self.alpha_correct, self.alpha_sharp, self.alpha_diverse = alpha_correct, alpha_sharp, alpha_diverse
        self.beta_in, self.beta_out = beta_in, beta_out
        self.stop_gradient, self.averaging = stop_gradient, averaging
        self.target_reduction, self.absent_in_diversity = target_reduction, absent_in_diversity

    @classmethod
    def published(cls, **changes: float) -> PromptHeuristicLoss:
        """The loss as the published code computes it."""
        return cls(target_reduction="corner_bilinear", absent_in_diversity=True, **changes)  # type: ignore[arg-type]

    def forward(self, weights: Tensor, target: Tensor, features: Tensor | None = None) -> Tensor:
        """The loss; without features there is no diversity term."""
        share = self.share_of_cells(target, weights)  # (B, C, h*w)
        placed = weights.detach().flatten(3).sum(-1) > 0  # (B, C, N); False where a class has fewer points
        exists = (share.sum(-1) > 0)[..., None] & placed
        correct, sharp = self.terms(weights, share)
        loss = self._average(self.alpha_correct * correct + self.alpha_sharp * sharp, exists)
        if features is None or not self.alpha_diverse:
            return loss
        inner, outer = self.diversity(features, placed if self.absent_in_diversity else exists)
        return loss + self.alpha_diverse * (self.beta_in * inner + self.beta_out * outer)

    def terms(self, weights: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """L_pc and L_ps of each point. Shape weights (B, C, N, h, w), share (B, C, h*w) -> (B, C, N) each."""
        weights = weights.flatten(3)
        overlap = share[:, :, None] * weights
        right, peak = overlap.sum(-1), overlap.amax(-1)
        correct = 1 - (right + self.gamma) / (weights.sum(-1) + self.gamma)
        denominator = right.detach() if self.stop_gradient else right
        return correct, 1 - (peak + self.gamma) / (denominator + self.gamma)

    def diversity(self, features: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """L_in among the points of a class and L_out among the classes of a point index.

        Shape: features (B, C, N, D), counted (B, C, N) -> scalars.
        """
        unit = F.normalize(features, dim=-1, eps=1e-8)
        inner = self._contrast(unit, counted)
        outer = self._contrast(unit.transpose(1, 2), counted.transpose(1, 2))
        return inner, outer

    def share_of_cells(self, target: Tensor, weights: Tensor) -> Tensor:
        """Share of each class in each cell, in [0, 1]. Shape (B, C, h*w)."""
        batch, classes, grid = weights.shape[0], weights.shape[1], weights.shape[-2:]
        masks = class_masks(target, classes)
        if masks.shape[0] != batch:
            raise ValueError(f"target must hold {batch} images, got {masks.shape[0]}.")
        if self.target_reduction != "corner_bilinear":
            share = F.interpolate(masks, grid, mode="area")
            if self.target_reduction == "centre":
                covered = share * F.interpolate(masks, grid, mode="nearest-exact")
                share = torch.where(covered.flatten(2).any(-1)[..., None, None], covered, share)
            return share.to(weights.dtype).flatten(2)
        return F.interpolate(masks, grid, mode="bilinear", align_corners=True).to(weights.dtype).flatten(2)

    def _average(self, loss: Tensor, exists: Tensor) -> Tensor:
        if self.averaging == "points":
            return _masked_mean(loss, exists)
        per_class = _masked_mean(loss, exists, dim=-1)  # (B, C)
        return _masked_mean(per_class, exists.any(-1), dim=-1).mean()

    def _contrast(self, unit: Tensor, counted: Tensor) -> Tensor:
        """Mean over anchors of -log softmax of the anchor itself, among the last-but-one axis."""
        logits = unit @ unit.transpose(-1, -2) / self.temperature
        logits = logits.masked_fill(~counted[..., None, :], torch.finfo(logits.dtype).min)
        own = logits.diagonal(dim1=-2, dim2=-1)
        return _masked_mean(logits.logsumexp(-1) - own, counted)


def class_masks(target: Tensor, classes: int) -> Tensor:
    """Masks (B, C, H, W), float32, of masks, of one mask for two classes, or of class indices.

    Raises:
        ValueError: target is not four-dimensional, or has neither 1 nor `classes` channels.
    """
    if target.ndim != 4:
        raise ValueError(f"target must have shape (B, C, H, W) or (B, 1, H, W), got {tuple(target.shape)}.")
    if target.shape[1] == classes:
        return target.float()
    if target.shape[1] != 1:
        raise ValueError(f"target must have 1 or {classes} channels, got {target.shape[1]}.")
    scored = target != IGNORE_INDEX  # where nothing is scored there is no class
    if target.is_floating_point() and classes == 2:
        return torch.cat([1 - target, target], dim=1).where(scored, 0).float()
    return ((target == torch.arange(classes, device=target.device).reshape(1, -1, 1, 1)) & scored).float()


def _masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean where `mask` is True; 0 where it never is."""
    kept = values.where(mask, 0)
    if dim is None:
        return kept.sum() / mask.sum().clamp_min(1)
    return kept.sum(dim) / mask.sum(dim).clamp_min(1)
