"""Boxes and masks on grids: where a class's points may lie, and where its mask may be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def confine(box_masks: Tensor, grid: Sequence[int]) -> Tensor:
    """The cells in which a class's points may lie.

    A cell is inside when the pixel at its centre (pixel 16i + 8 of a 1024 frame) is. If no cell is inside, as with a
    small box, the one nearest to the centre of the box stays. An empty mask says nothing: all cells stay.

    Args:
        box_masks: positive inside.
        grid: rows and columns of cells.

    Shape: box_masks (B, C, H, W) -> (B, C, h, w), bool, never empty.
    """
    rows, columns = grid
    masks = box_masks.float()
    inside = F.interpolate(masks, (rows, columns), mode="nearest-exact") > 0.5
    missed = ~inside.flatten(2).any(-1)  # (B, C)
    row = _nearest_cell((masks > 0.5).any(3), rows)
    column = _nearest_cell((masks > 0.5).any(2), columns)
    nearest = F.one_hot(row * columns + column, rows * columns).bool().unflatten(-1, (rows, columns))
    empty = ~(masks > 0.5).flatten(2).any(-1)
    return inside | (missed[..., None, None] & nearest) | empty[..., None, None]


def _nearest_cell(occupied: Tensor, cells: int) -> Tensor:
    """Cell whose centre pixel is nearest to the middle of the occupied positions (..., n) -> (...)."""
    length = occupied.shape[-1]
    flags = occupied.to(torch.uint8)
    middle = (flags.argmax(-1) + length - 1 - flags.flip(-1).argmax(-1)) / 2
    centres = ((torch.arange(cells, device=occupied.device) + 0.5) * length / cells).floor()
    return (centres - middle[..., None]).abs().argmin(-1)


def box_cells(box_xyxy: Tensor, grid: int, size: int) -> Tensor:
    """The cells whose middle pixel lies in a class's box; at least the nearest; all where there is no box.

    Args:
        box_xyxy: pixels of the square; NaN is no box.
        grid: cells a side.
        size: pixels a side.

    Shape: box_xyxy (B, K, 4) -> (B, K, grid, grid), bool.
    """
    pixel = ((torch.arange(grid, device=box_xyxy.device) + 0.5) * size / grid).floor() + 0.5
    x1, y1, x2, y2 = box_xyxy[..., None].unbind(-2)  # (B, K, 1) each
    columns, rows = (pixel >= x1) & (pixel < x2), (pixel >= y1) & (pixel < y2)
    inside = rows[..., None] & columns[..., None, :]
    column, row = ((pixel - (low + high) / 2).abs().argmin(-1) for low, high in ((x1, x2), (y1, y2)))
    nearest = F.one_hot(row * grid + column, grid * grid).bool().unflatten(-1, (grid, grid))
    missed = ~inside.flatten(2).any(-1)[..., None, None]
    absent = box_xyxy.isnan().any(-1)[..., None, None]
    return inside | (missed & nearest) | absent


def box_keeps(box_xyxy: Tensor, side: int, size: int) -> Tensor:
    """Cells of a mask that touch a class's box, and one more all round, so that none inside is interpolated away.

    Shape: box_xyxy (B, K, 4) in pixels -> (B, K, side, side), bool; all True where there is no box.
    """
    step = size / side
    cell = torch.arange(side, device=box_xyxy.device) * step  # left or upper edge
    x1, y1, x2, y2 = box_xyxy[..., None].unbind(-2)
    columns = (cell + 2 * step > x1) & (cell - step < x2)
    rows = (cell + 2 * step > y1) & (cell - step < y2)
    return (rows[..., None] & columns[..., None, :]) | box_xyxy.isnan().any(-1)[..., None, None]


def grow_boxes(box_xyxy: Tensor, share: float, size: int) -> Tensor:
    """Boxes grown by a share of their sides on each side, within the square. Shape (..., 4); NaN stays NaN."""
    margin = (box_xyxy[..., 2:] - box_xyxy[..., :2]) * share
    grown = torch.cat([box_xyxy[..., :2] - margin, box_xyxy[..., 2:] + margin], dim=-1)
    return grown.clamp(0, size)


def outside_of_masks(points_xy: Tensor, logits: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where the mask of each class is surest, and which of the class's points lie outside of it.

    A class without a mask has no place, and none of its points is outside.

    Args:
        points_xy: pixels of the square; NaN is no point.
        logits: of all classes, background first.
        size: pixels a side of the square.

    Shape: points_xy (B, K, N, 2), logits (B, K+1, h, w) -> pixels (B, K, 2), outside (B, K, N).
    """
    side = logits.shape[-1]
    index = torch.arange(1, logits.shape[1], device=logits.device)
    mask = (logits.argmax(1, keepdim=True) == index[:, None, None]).flatten(2)  # (B, K, h*w)
    best = logits[:, 1:].flatten(2).masked_fill(~mask, -torch.inf).argmax(-1)
    surest = (torch.stack([best % side, best // side], dim=-1) + 0.5) * (size / side) - 0.5
    cells = ((points_xy.nan_to_num() + 0.5) * side / size).floor().long().clamp(0, side - 1)
    inside = mask.gather(2, cells[..., 1] * side + cells[..., 0])
    outside = mask.any(-1, keepdim=True) & ~inside & ~points_xy.isnan().any(-1)
    return surest.to(points_xy), outside
