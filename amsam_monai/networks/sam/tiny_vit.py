"""TinyViT as Segment Anything's image encoder: MobileSAM's at stride 16, LiteMedSAM's at stride 4."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# TinyViT-5M, the size that both published encoders have: one stage of convolutions, three of windowed attention.
WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (None, 4, 5, 10)
WINDOWS = (None, 7, 14, 7)  # cells a side; these three are what the attention bias tables were trained for
EXPANSION = 4


class TinyViT(nn.Module):
    """Image embedding of a square image (TinyViT, arXiv:2207.10666; as adapted by MobileSAM, arXiv:2306.14289).

    Parameter names are those of the published checkpoints, whose classification head (`head`, `norm_head`) has no
    place here. Attention is local to windows with relative position tables, so weights fit any image size. Features at
    the right and bottom edge are padded with zeros to whole windows, and the padding is attended to, as in training.

    Args:
        image_size: S, side of the input in pixels, a multiple of 16.
        stride: pixels per cell of the embedding: 16 for MobileSAM, 4 for LiteMedSAM (its first layers do not stride).
        out_channels: channels of the embedding.

    Shape: (B, 3, S, S) normalised -> (B, out_channels, S / stride, S / stride).

    Raises:
        ValueError: stride is neither 16 nor 4, or image_size is not a multiple of 16.
    """

    def __init__(self, *, image_size: int = 1024, stride: int = 16, out_channels: int = 256) -> None:
        super().__init__()
        if stride not in (16, 4):
            raise ValueError(f"stride must be 16 (MobileSAM) or 4 (LiteMedSAM), got {stride}.")
        if image_size < 16 or image_size % 16:
            raise ValueError(f"image_size must be a positive multiple of 16, got {image_size}.")
        self.image_size = image_size
        self.grid = image_size // stride
        self.patch_embed = PatchEmbed(WIDTHS[0], strided=stride == 16)
        self.layers = nn.ModuleList(_stage(index) for index in range(len(DEPTHS)))
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Embed normalised images. Shape (B, 3, S, S) -> (B, C, g, g).

        Raises:
            ValueError: the images are not squares of `image_size`.
        """
        if image.ndim != 4 or image.shape[1:] != (3, self.image_size, self.image_size):
            size = self.image_size
            raise ValueError(
                f"image must have shape (B, 3, {size}, {size}), got {tuple(image.shape)}; resize or pad it."
            )
        # Channels lie together, as attention reads them; convolutions are quicker so, too.
        x = self.patch_embed(image.contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            x = layer(x)
        return self.neck(x)


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch normalisation, under the checkpoints' names `c` and `bn`.

    Where statistics are kept ones, scale and shift go into the convolution's weight and bias: one pass less over the
    image, forwards and backwards.
    """

    c: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(OrderedDict(c=convolution, bn=nn.BatchNorm2d(outputs)))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) -> (B, C', H', W')."""
        convolution, norm = self.c, self.bn
        if norm.training or norm.running_mean is None or norm.running_var is None:
            return norm(convolution(x))
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight, bias = convolution.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
        return F.conv2d(x, weight, bias, convolution.stride, convolution.padding, groups=convolution.groups)


class PatchEmbed(nn.Module):
    """Pixels to cells: two 3x3 convolutions of stride 2, or two 1x1 convolutions that keep every pixel."""

    def __init__(self, width: int, *, strided: bool) -> None:
        super().__init__()
        kernel, stride = (3, 2) if strided else (1, 1)
        first = ConvNorm(3, width // 2, kernel, stride=stride)
        self.seq = nn.Sequential(first, nn.GELU(), ConvNorm(width // 2, width, kernel, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, 3, S, S) -> (B, C, S/4, S/4), or (B, C, S, S) without strides."""
        return self.seq(x)


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel alone, narrow, add (MobileNetV2, arXiv:1801.04381)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width * EXPANSION
        self.conv1 = ConvNorm(width, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) -> the same."""
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class Downsample(nn.Module):
    """Change the width, and halve the grid unless stride is 1."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride=stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) -> (B, C', H/stride, W/stride)."""
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class WindowAttention(nn.Module):
    """Self-attention inside a window, with a learned bias per head and absolute offset (|dy|, |dx|).

    The rows of `qkv` are interleaved per head: q, k and v of head 0 (`key_dim` rows each), then those of head 1, ...

    The cells of zeros that fill the last windows have the same query, key and value, which are projected once.

    Args:
        width: channels; key_dim = width / num_heads.
        num_heads: heads.
        window: cells a side.

    Shape: (B, H, W, C) -> the same.
    """

    offsets: Tensor

    def __init__(self, width: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.key_dim = width // num_heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window * window))
        axis = torch.arange(window)
        rows, columns = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
        dy, dx = (part[:, None] - part[None] for part in (rows, columns))
        # Tables are ordered as the offsets of the window's first cell: row by row.
        self.register_buffer("offsets", (dy.abs() * window + dx.abs()).flatten(), persistent=False)  # (cells * cells,)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, H, W, C) -> the same."""
        batch, height, breadth, width = x.shape
        side, heads = self.window, self.num_heads
        qkv = self.qkv(self.norm(x))
        below, right = -height % side, -breadth % side
        if below or right:
            empty = self.qkv(self.norm(x.new_zeros(1, 1, 1, width)))
            whole = empty.repeat(batch, height + below, breadth + right, 1)
            whole[:, :height, :breadth] = qkv
            qkv = whole
        down, across = qkv.shape[1] // side, qkv.shape[2] // side
        windows = qkv.view(batch, down, side, across, side, heads, 3 * self.key_dim).permute(0, 1, 3, 5, 2, 4, 6)
        q, k, v = windows.reshape(batch * down * across, heads, side * side, -1).chunk(3, dim=-1)
        # Selecting along one axis is several times faster than indexing by a square of offsets.
        bias = self.attention_biases.index_select(1, self.offsets).view(1, heads, side * side, side * side)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        mixed = mixed.view(batch, down, across, heads, side, side, self.key_dim).permute(0, 1, 4, 2, 5, 3, 6)
        return self.proj(mixed.reshape(batch, down * side, across * side, width)[:, :height, :breadth])


class FeedForward(nn.Module):
    """Normalise, widen, narrow. Shape (..., C) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, width * EXPANSION)
        self.fc2 = nn.Linear(width * EXPANSION, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., C) -> the same."""
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class AttentionBlock(nn.Module):
    """Windowed attention, a depth-wise convolution across window borders, and a feed-forward layer."""

    def __init__(self, width: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.attn = WindowAttention(width, num_heads, window)
        self.mlp = FeedForward(width)
        self.local_conv = ConvNorm(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) -> the same."""
        x = self.local_conv(x + self.attn(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks at one resolution, then the way to the next stage.

    Shape: (B, C, H, W) -> (B, C', H', W').
    """

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) -> (B, C', H', W')."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class LayerNorm2d(nn.Module):
    """Layer normalisation over channels, cell by cell. Shape (B, C, H, W) -> the same."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) -> the same."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def _stage(index: int) -> Stage:
    width, heads, window = WIDTHS[index], HEADS[index], WINDOWS[index]
    blocks: list[nn.Module] = []
    for _ in range(DEPTHS[index]):
        blocks.append(AttentionBlock(width, heads, window) if heads and window else InvertedBottleneck(width))
    if index == len(WIDTHS) - 1:
        return Stage(blocks, None)
    # The classifier's last halving is dropped, which leaves SAM's stride of 16.
    stride = 1 if index == len(WIDTHS) - 2 else 2
    return Stage(blocks, Downsample(width, WIDTHS[index + 1], stride=stride))
