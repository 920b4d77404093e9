"""Bottleneck adapters in a frozen image encoder, as Medical SAM Adapter (Med-SA, arXiv:2304.12620) has them."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


class Adapter(nn.Module):
    """A frozen layer with a trained bottleneck beside it or behind it; before training it changes nothing.

    Args:
        layer: the frozen layer.
        width: channels of its input and output, the last dimension.
        hidden: channels of the bottleneck.
        behind: the bottleneck takes the layer's output (Med-SA behind attention), or its input (beside the MLP).
        scale: of the bottleneck's output.

    Shape: (..., C) -> the same; further arguments are the layer's.
    """

    def __init__(self, layer: nn.Module, width: int, hidden: int, *, behind: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.layer = layer
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.behind, self.scale = behind, scale

    def forward(self, x: Tensor, *more: int) -> Tensor:
        """The layer's output, adapted."""
        output = self.layer(x, *more)
        return output + self.scale * self.up(F.gelu(self.down(output if self.behind else x)))


def add_encoder_adapters(image_encoder: nn.Module, *, ratio: float = 0.25) -> None:
    """Put an adapter behind each attention and one beside each MLP, in place; the rest is frozen.

    Args:
        image_encoder: segment-anything's ViT, or `TinyViT`.
        ratio: width of the bottleneck as a share of the block's.

    Raises:
        ValueError: a ratio that is not positive, or no attention blocks in this encoder.
    """
    if ratio <= 0:
        raise ValueError(f"ratio must be positive, got {ratio}.")
    image_encoder.requires_grad_(False)
    blocks = [m for m in image_encoder.modules() if hasattr(getattr(m, "attn", None), "qkv") and hasattr(m, "mlp")]
    if not blocks:
        raise ValueError(f"image encoder must have attention blocks, got a {type(image_encoder).__name__} without.")
    for block in blocks:
        attention, mlp = cast(nn.Module, block.attn), cast(nn.Module, block.mlp)
        width = cast(nn.Linear, attention.proj).out_features
        hidden = max(1, int(ratio * width))
        block.attn = Adapter(attention, width, hidden, behind=True)
        block.mlp = Adapter(mlp, width, hidden, behind=False, scale=0.5)
