"""Prompt sets of different length: none is ever padded with tokens that are attended to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from amsam_monai.networks.in_graph import in_graph
from amsam_monai.networks.prompts.prompts import Prompts
from amsam_monai.networks.sam import SAM


def set_tokens(sam: SAM, prompts: Prompts, count: int) -> tuple[Tensor, Tensor]:
    """SAM's tokens of every prompt set, and which of them are there; absent (NaN) points and boxes are not.

    A set with points and no box ends with SAM's token "not a point", as its prompt encoder has it.

    Args:
        sam: whose tokens.
        prompts: points (B, K, N, 2) and boxes (B, K, 4) in pixels of the square, or None.
        count: n, the number of sets: B * K.

    Shape: -> tokens (n, T, 256) in the order image * K + class, there (n, T) boolean.
    """
    tokens = sam.sparse(rows=count)  # (n, 0, 256)
    there = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    boxed = there.any(-1, keepdim=True)  # (n, 1)
    parts, valid = [tokens], [there]
    if prompts.box_xyxy is not None:
        boxes = prompts.box_xyxy.flatten(0, 1)
        boxed = ~boxes.isnan().any(-1, keepdim=True)
    if prompts.points_xy is not None and prompts.point_labels is not None:
        points, labels = prompts.points_xy.flatten(0, 1), prompts.point_labels.flatten(0, 1)
        given = ~points.isnan().any(-1)  # (n, N)
        parts += [sam.point_tokens(points.nan_to_num(), labels), sam.no_point_token(count)]
        valid += [given, given.any(-1, keepdim=True) & ~boxed]
    if prompts.box_xyxy is not None:
        parts.append(sam.box_tokens(boxes.nan_to_num()))
        valid.append(boxed.expand(-1, 2))
    return torch.cat(parts, dim=1), torch.cat(valid, dim=1)


def decode_sets(
    decode: Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]], tokens: Tensor, there: Tensor
) -> tuple[Tensor, Tensor]:
    """What `decode` gives for prompt sets of different length, set by set.

    CPUs decode sets of equal length together. Elsewhere, and in compiled code, all sets go together with a mask of what
    is to be attended to: how many tokens a set has would have to be read back from the device.

    Args:
        decode: of row numbers (m,), their tokens (m, t, 256), and which of these are there (m, t) or None for all;
            gives two tensors of m rows.
        tokens: of each set.
        there: which of them are there.

    Shape: tokens (n, T, 256), there (n, T) -> two tensors of n rows.
    """
    if not tokens.numel():
        return decode(torch.arange(tokens.shape[0], device=tokens.device), tokens, None)
    if not may_read_back(tokens):
        return decode(torch.arange(tokens.shape[0], device=tokens.device), tokens, there)
    groups = group_by_length(tokens, there)
    answers = [decode(rows, part, None) for rows, part in groups]
    if len(groups) == 1:
        return answers[0]
    order = torch.cat([rows for rows, _ in groups]).argsort()
    first, second = (torch.cat(part)[order] for part in zip(*answers, strict=True))
    return first, second


def may_read_back(x: Tensor) -> bool:
    """Whether values of `x` may decide what is computed: on CPUs, outside of graphs.

    On any other device the host would wait for the value, and no compiled graph could hold what follows.
    """
    return x.device.type == "cpu" and not in_graph()


def group_by_length(tokens: Tensor, there: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows with equally many tokens, and these tokens, in their order.

    Shape: tokens (n, T, D), there (n, T) -> pairs of indices (m,) and tokens (m, t, D).
    """
    counts = there.sum(-1)
    order = (~there).to(torch.int8).argsort(dim=-1, stable=True)  # those that are there first
    tokens = tokens.gather(1, order[..., None].expand_as(tokens))
    groups = []
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero()[:, 0]
        groups.append((rows, tokens[rows, :count]))
    return groups
