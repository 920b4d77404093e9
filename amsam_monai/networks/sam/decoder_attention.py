"""Attention between a few tokens and the many cells of an image, as SAM's mask decoder has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.sam.lora import updated_weight


@dataclass(frozen=True)
class Sharing:
    """How prompt sets share images: row n works on image `rows[n]` plus what `constant` adds to all its cells.

    A linear layer then works once an image and once a constant.

    Args:
        rows: image of each row; None where row n has image n.
        constant: None is nothing.

    Shape: rows (n,), constant (n, 1, 256).
    """

    rows: Tensor | None = None
    constant: Tensor | None = None

    def spread(self, x: Tensor, layer: nn.Linear | None = None) -> Tensor:
        """The layer's answer, or x itself, for every row. Shape (B, g*g, 256) -> (n, g*g, c)."""
        answer = x if layer is None else layer(x)
        if self.rows is not None:
            answer = answer[self.rows]
        if self.constant is None:
            return answer
        shift = self.constant if layer is None else layer(self.constant) - layer.bias
        return answer + shift.to(answer.dtype)


def attend(attention: Any, queries: Tensor, keys: Tensor, values: Tensor, there: Tensor | None = None) -> Tensor:
    """Segment-anything's attention, by PyTorch's own, to those keys that are `there`, or to all.

    Shape: queries (n, q, 256), keys and values (n, k, 256), there (n, k) -> (n, q, 256).
    """
    return _attend(attention, attention.q_proj(queries), attention.k_proj(keys), attention.v_proj(values), there)


def look_at_cells(
    attention: Any, tokens: Tensor, placed: Tensor, cells: Tensor, sharing: Sharing = Sharing()
) -> Tensor:
    """Attention of tokens (queries) to cells with their position (keys) and without it (values).

    With few tokens no cell is projected: a token's query q meets the cells x as (W_k^T q)^T x, and what it takes from
    them is W_v (sum of a x), both products as wide as there are tokens and heads. The bias of the keys and a constant
    in all of them change no softmax over cells.

    Shape: tokens (n, T, 256), placed and cells (B, g*g, 256) -> (n, T, 256).
    """
    q = attention.q_proj(tokens)
    if not _few(attention, tokens, sharing):
        return _attend(attention, q, sharing.spread(placed, attention.k_proj), sharing.spread(cells, attention.v_proj))
    heads = attention.num_heads
    q = _of_heads(q, heads)
    q = q * q.shape[-1] ** -0.5
    asked = (q @ _rows_of_heads(attention.k_proj, heads)).flatten(1, 2)  # (n, heads * T, 256)
    # (n, heads * T, 1); changes nothing, but processes that train together expect a gradient of every parameter
    shift = (q @ _bias_of_heads(attention.k_proj, heads)).flatten(1, 2)
    share = torch.baddbmm(shift.mT, placed, asked.mT).softmax(1)  # (n, g*g, heads * T), over cells
    taken = share.mT @ cells
    if sharing.constant is not None:
        taken = taken + sharing.constant.to(taken.dtype)
    taken = taken.unflatten(1, (heads, -1)) @ _rows_of_heads(attention.v_proj, heads).mT  # (n, heads, T, c)
    return attention.out_proj(taken.transpose(1, 2).flatten(2) + attention.v_proj.bias)


def look_at_tokens(
    attention: Any,
    placed: Tensor,
    keys: Tensor,
    values: Tensor,
    sharing: Sharing = Sharing(),
    there: Tensor | None = None,
) -> Tensor:
    """Attention of cells with their position (queries) to those tokens that are `there`, or to all.

    With few tokens no cell is projected either.

    Shape: placed (B, g*g, 256), keys and values (n, T, 256), there (n, T) -> (n, g*g, 256).
    """
    k, v = attention.k_proj(keys), attention.v_proj(values)
    if not _few(attention, keys, sharing):
        return _attend(attention, sharing.spread(placed, attention.q_proj), k, v, there)
    heads = attention.num_heads
    k, v = _of_heads(k, heads), _of_heads(v, heads)
    k = k * k.shape[-1] ** -0.5
    asked = (k @ _rows_of_heads(attention.q_proj, heads)).transpose(1, 2).flatten(1, 2)  # (n, T * heads, 256)
    shift = (k @ _bias_of_heads(attention.q_proj, heads)).transpose(1, 2).flatten(1, 2)  # (n, T * heads, 1)
    if sharing.constant is not None:
        shift = shift + asked @ sharing.constant.to(asked.dtype).mT
    if there is not None:
        shift = shift.masked_fill(~there.repeat_interleave(heads, dim=1)[..., None], -torch.inf)
    scores = torch.baddbmm(shift.mT, placed, asked.mT)
    share = scores.unflatten(-1, (-1, heads)).softmax(-2).flatten(-2)  # (n, g*g, T * heads)
    out = updated_weight(attention.out_proj).mT.unflatten(0, (heads, -1))  # (heads, c, 256)
    given = v @ out + attention.out_proj.bias / heads  # the shares of each head add up to one
    return share @ given.transpose(1, 2).flatten(1, 2)


def _few(attention: Any, tokens: Tensor, sharing: Sharing) -> bool:
    """Whether products as wide as tokens and heads are narrower than the projections, each row having its own image."""
    count = tokens.shape[1]  # a symbol in a graph for any number of prompts
    return sharing.rows is None and isinstance(count, int) and attention.num_heads * count < attention.internal_dim


def _attend(attention: Any, q: Tensor, k: Tensor, v: Tensor, there: Tensor | None = None) -> Tensor:
    q, k, v = (_of_heads(part, attention.num_heads) for part in (q, k, v))
    mask = None if there is None else there[:, None, None]  # (n, 1, 1, k)
    return attention.out_proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


def _of_heads(x: Tensor, heads: int) -> Tensor:
    """Shape (n, T, heads * c) -> (n, heads, T, c)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _rows_of_heads(layer: nn.Linear, heads: int) -> Tensor:
    """Weight of each head's channels, updates included. Shape (heads, c, 256)."""
    return updated_weight(layer).unflatten(0, (heads, -1))


def _bias_of_heads(layer: nn.Linear, heads: int) -> Tensor:
    """Shape (heads, c, 1)."""
    return layer.bias.unflatten(0, (heads, -1))[..., None]
