"""Prompt sets of different length, grouped so that none is padded with tokens that are attended to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amsam_monai.networks.prompts.prompts import Prompts


@dataclass
class PromptGroup:
    """Prompt sets with the same number of points, and all with a box or all without.

    Args:
        rows: index of each set in the flattened (image, class) order: image * K + class.
        points_xy: pixels, none absent; None where the group has no points.
        point_labels: 1 positive, 0 negative.
        boxes: x1, y1, x2, y2; None where the group has no boxes.

    Shape: rows (n,), points_xy (n, N, 2), point_labels (n, N), boxes (n, 4).
    """

    rows: Tensor
    points_xy: Tensor | None
    point_labels: Tensor | None
    boxes: Tensor | None


def group_prompt_sets(prompts: Prompts, rows: Tensor) -> list[PromptGroup]:
    """Groups of equal length among the prompt sets in `rows`; absent (NaN) points and boxes are left out.

    Args:
        prompts: points (B, K, N, 2) and boxes (B, K, 4), or None.
        rows: indices image * K + class of the sets to group.

    Shape: rows (n,).
    """
    if prompts.points_xy is None and prompts.box_xyxy is None:
        return [PromptGroup(rows, None, None, None)]
    counts = rows.new_zeros(len(rows))
    has_box = torch.zeros_like(counts)
    if prompts.points_xy is not None and prompts.point_labels is not None:
        points, labels = prompts.points_xy.flatten(0, 1)[rows], prompts.point_labels.flatten(0, 1)[rows]
        absent = points.isnan().any(-1)  # (n, N)
        counts = (~absent).sum(-1)
        order = absent.to(torch.int8).argsort(dim=-1, stable=True)  # present points first, in their order
        points, labels = points.gather(1, order[..., None].expand_as(points)), labels.gather(1, order)
    if prompts.box_xyxy is not None:
        boxes = prompts.box_xyxy.flatten(0, 1)[rows]
        has_box = (~boxes.isnan().any(-1)).to(counts.dtype)
    groups = []
    for key in torch.unique(counts * 2 + has_box).tolist():
        chosen = (counts * 2 + has_box == key).nonzero()[:, 0]
        count, boxed = divmod(key, 2)
        groups.append(
            PromptGroup(
                rows[chosen],
                points[chosen, :count] if count else None,
                labels[chosen, :count] if count else None,
                boxes[chosen] if boxed else None,
            )
        )
    return groups
