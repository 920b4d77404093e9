"""SAM's position tables at another image size than they were trained for."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor


def resize_position_tables(state: dict[str, Tensor], *, grid: int, global_blocks: Iterable[int]) -> dict[str, Tensor]:
    """A ViT encoder's state dict whose position tables fit a grid x grid embedding.

    The absolute table is interpolated bilinearly, the relative tables of the blocks with global attention linearly;
    windowed blocks keep theirs, since their window does not change. Blocks are named by index: a search for digits in
    parameter names, as published code does, hits the wrong blocks from ViT-L on.

    Args:
        state: keys relative to the image encoder ("pos_embed", "blocks.2.attn.rel_pos_h", ...).
        grid: side of the embedding.
        global_blocks: indices of the blocks with global attention.
    """
    state = dict(state)
    table = state["pos_embed"]  # (1, h, w, C)
    if table.shape[1] != grid:
        resized = F.interpolate(table.permute(0, 3, 1, 2), (grid, grid), mode="bilinear", align_corners=False)
        state["pos_embed"] = resized.permute(0, 2, 3, 1)
    length = 2 * grid - 1
    for block in global_blocks:
        for axis in "hw":
            name = f"blocks.{block}.attn.rel_pos_{axis}"  # (L, C)
            if state[name].shape[0] != length:
                state[name] = F.interpolate(state[name].T[None], length, mode="linear", align_corners=False)[0].T
    return state
