"""SAM's ViT with attention that never holds the whole matrix: the same numbers, in less time and memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import Attention, Block, ImageEncoderViT, get_rel_pos
from torch import Tensor, nn

from amsam_monai.networks.in_graph import in_graph

TILED = 1024  # tokens from which a CPU attends tile by tile
TILE = 256  # queries of a tile: its attention to 4096 tokens (4 MiB) stays in the processor's cache


def lean(encoder: ImageEncoderViT) -> ImageEncoderViT:
    """Put lean blocks in the place of segment-anything's, in place: same parameters, names and outputs."""
    encoder.blocks = nn.ModuleList(LeanBlock(block) for block in encoder.blocks)  # type: ignore[arg-type]
    return encoder


class LeanBlock(nn.Module):
    """A transformer block that projects image tokens alone, not the zeros that fill the last windows.

    Args:
        block: segment-anything's, whose parts are taken over.

    Shape: (B, H, W, C) -> the same.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.attn = block.norm1, LeanAttention(block.attn)
        self.norm2, self.mlp = block.norm2, block.mlp
        self.window_size = block.window_size

    def forward(self, x: Tensor) -> Tensor:
        """Attention within windows, or of all tokens where there are none, then the MLP."""
        x = x + self.attn(self.norm1(x), self.window_size)
        return x + self.mlp(self.norm2(x))


class LeanAttention(nn.Module):
    """Attention with decomposed relative positions, softmax(q k^T / sqrt(c) + q R_h + q R_w) v.

    Args:
        attention: segment-anything's, whose parts are taken over.

    Shape: (B, H, W, C) -> the same.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.num_heads, self.scale = attention.num_heads, attention.scale
        self.qkv, self.proj = attention.qkv, attention.proj
        self.rel_pos_h, self.rel_pos_w = attention.rel_pos_h, attention.rel_pos_w

    def forward(self, x: Tensor, window: int = 0) -> Tensor:
        """Attend within windows of so many cells a side; 0 is one window of all."""
        rows, columns = x.shape[1:3]
        qkv = self.qkv(x)
        if not window:
            return self.proj(self._attend(qkv))
        below, right = -rows % window, -columns % window
        if right:
            qkv = torch.cat([qkv, self._empty(qkv, rows, right)], dim=2)
        if below:
            qkv = torch.cat([qkv, self._empty(qkv, below, columns + right)], dim=1)
        down, across = (rows + below) // window, (columns + right) // window
        qkv = qkv.unflatten(2, (across, window)).unflatten(1, (down, window)).transpose(2, 3)
        seen = self._attend(qkv.flatten(0, 2)).unflatten(0, (-1, down, across))
        return self.proj(seen.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :rows, :columns])

    def _empty(self, qkv: Tensor, rows: int, columns: int) -> Tensor:
        """q, k and v of cells of zeros: the projection's bias."""
        return self.qkv.bias.to(qkv.dtype).expand(qkv.shape[0], rows, columns, -1)

    def _attend(self, qkv: Tensor) -> Tensor:
        """Shape: (B, H, W, 3C) -> (B, H, W, C)."""
        batch, rows, columns, width = qkv.shape
        q, k, v = qkv.reshape(batch, rows * columns, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        along, across = self._positions(q, rows, columns)
        if _tiled(qkv, rows * columns):
            seen = _attend_by_tiles(q, k, v, along, across, self.scale)
        else:
            bias = (along[..., :, None] + across[..., None, :]).flatten(-2).flatten(2, 3)
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale).transpose(1, 2)
        return seen.reshape(batch, rows, columns, width // 3)

    def _positions(self, q: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """What rows and columns of keys add to each query: (B, heads, H, W, H) and (B, heads, H, W, W)."""
        cells = q.unflatten(2, (rows, columns))
        tables = (
            get_rel_pos(size, size, table).to(q.dtype)
            for size, table in ((rows, self.rel_pos_h), (columns, self.rel_pos_w))
        )
        along, across = tables
        return cells @ along.mT, (cells.transpose(2, 3) @ across.mT).transpose(2, 3)


def _tiled(x: Tensor, tokens: int) -> bool:
    """Whether loops over heads are quicker: on a CPU, where nothing learns, compiles or exports."""
    return (
        tokens >= TILED
        and x.device.type == "cpu"
        and not (torch.is_grad_enabled() and x.requires_grad)
        and not in_graph()
    )


def _attend_by_tiles(q: Tensor, k: Tensor, v: Tensor, along: Tensor, across: Tensor, scale: float) -> Tensor:
    """A head and some rows of queries at a time. Shape: q, k, v (B, heads, HW, c) -> (B, HW, heads, c)."""
    batch, heads, tokens, width = q.shape
    rows, columns = along.shape[2:4]
    seen = q.new_empty(batch, tokens, heads, width)
    step = max(1, TILE // columns)
    for image in range(batch):
        for head in range(heads):
            keys, values = (k[image, head] * scale).mT.contiguous(), v[image, head].contiguous()
            for row in range(0, rows, step):
                here = slice(row * columns, (row + step) * columns)
                match = (q[image, head, here] @ keys).view(-1, columns, rows, columns)
                match += along[image, head, row : row + step, :, :, None]
                match += across[image, head, row : row + step, :, None, :]
                seen[image, here, head] = match.flatten(2).flatten(0, 1).softmax(-1) @ values
    return seen
