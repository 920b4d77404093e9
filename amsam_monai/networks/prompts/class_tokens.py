"""Prompt tokens of classes that prompt against each other: which tokens each class gets, background first."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.prompts.class_prompts import point_signs
from amsam_monai.networks.sam import SAM


def label_embeddings(sam: SAM) -> Tensor:
    """SAM's label embeddings: not a point, negative, positive. Shape (3, 256)."""
    encoder = sam.prompt_encoder
    kinds = (encoder.not_a_point_embed, encoder.point_embeddings[0], encoder.point_embeddings[1])
    return torch.cat([cast(nn.Embedding, kind).weight for kind in kinds]).detach()


def positive_tokens(sam: SAM, points_xy: Tensor) -> Tensor:
    """Tokens of positive points; NaN is taken for the origin. Shape (B, C, N, 2) -> (B, C, N, 256)."""
    xy = points_xy.nan_to_num().flatten(0, 1)
    return sam.point_tokens(xy, torch.ones_like(xy[..., 0])).unflatten(0, points_xy.shape[:2])


def corner_tokens(sam: SAM, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of each class's box, and whether it has one; background has none.

    Shape: boxes (B, K, 4) -> (B, C, 2, 256), (B, C, 2).
    """
    corners = sam.box_tokens(boxes.nan_to_num().flatten(0, 1)).unflatten(0, boxes.shape[:2])
    boxed = F.pad(~boxes.isnan().any(-1), (1, 0))[..., None]  # (B, C, 1)
    return F.pad(corners, (0, 0, 0, 0, 1, 0)), boxed.expand(-1, -1, corners.shape[2])


def given_tokens(sam: SAM, points_xy: Tensor, point_labels: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of a person's points, and which of them each class gets: see `point_signs`.

    Args:
        sam: whose tokens.
        points_xy: in pixels of the square; NaN is no point.
        point_labels: 1 positive, 0 negative.
        counted: whose points count for other classes.

    Shape: points_xy (B, K, P, 2), point_labels (B, K, P), counted (B, C) -> (B, C, K*P, 256), (B, C, K*P).
    """
    signs = point_signs(points_xy, point_labels)  # (B, C, K, P)
    index = torch.arange(counted.shape[1], device=counted.device)
    own = (index[:, None] == index[1:])[..., None]  # (C, K, 1)
    there = (signs > 0) | ((signs < 0) & (counted[:, None, 1:, None] | own))
    positive, labels = positive_tokens(sam, points_xy), label_embeddings(sam)
    negative = positive - labels[2] + labels[1]
    tokens = torch.where(signs[..., None] > 0, positive[:, None], negative[:, None])  # (B, C, K, P, 256)
    return tokens.flatten(2, 3), there.flatten(2)
