"""SAM's mask decoder, faster than segment-anything runs it, for many prompt sets of few images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.in_graph import in_graph
from amsam_monai.networks.sam.decoder_attention import Sharing, attend, look_at_cells, look_at_tokens


@dataclass
class DecoderOutput:
    """What SAM's decoder knows before masks are made of it.

    Args:
        mask_tokens: one for each mask.
        iou_token: for the predicted IoU.
        features: of the 16 pixels of every cell, cell by cell; what is made of them pixel by pixel comes into the order
            of a picture by `picture`, which is cheap for a mask and dear for all channels.

    Shape: mask_tokens (n, M, 256), iou_token (n, 256), features (n, 32, g*g, 16).
    """

    mask_tokens: Tensor
    iou_token: Tensor
    features: Tensor

    def picture(self, maps: Tensor) -> Tensor:
        """Maps in the order of `features`, (n, m, g*g, 16), as pictures (n, m, 4g, 4g)."""
        grid = math.isqrt(maps.shape[-2])
        places = maps.reshape(*maps.shape[:2], grid, grid, 2, 2, 2, 2)  # cell, half of it, quarter; row and column
        return places.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*maps.shape[:2], 4 * grid, 4 * grid)


def run_decoder(
    decoder: nn.Module,
    image: Tensor,
    position: Tensor,
    tokens: Tensor,
    sharing: Sharing = Sharing(),
    there: Tensor | None = None,
) -> DecoderOutput:
    """What segment-anything's transformer and upscaling give, in less time.

    An image enters the first block of the transformer as it is, so its projections there serve all its prompt sets.
    Channels lie last throughout, attention is PyTorch's own, and transposed convolutions of stride 2 are linear layers.

    Args:
        decoder: segment-anything's; its layers may have LoRA.
        image: embeddings, with such dense prompts as are not in `sharing`.
        position: positional encoding of the cells.
        tokens: output tokens (1 + M), then prompt tokens.
        sharing: which image each row has.
        there: which tokens of each row are to be attended to; None is all.

    Shape: image (B, 256, g, g), position (1, 256, g, g), tokens (n, 1 + M + T, 256), there (n, 1 + M + T).
    """
    transformer = cast(Any, decoder.transformer)
    places = position.flatten(2).transpose(1, 2)  # (1, g*g, 256)
    queries, keys = tokens, _cells_first(image.flatten(2))
    if sharing.rows is not None and sharing.rows.shape[0] <= keys.shape[0]:  # nothing to share
        keys, sharing = keys[sharing.rows], Sharing(constant=sharing.constant)
    for block in transformer.layers:
        queries, keys = _block(block, queries, keys, tokens, places, sharing, there)
        sharing = Sharing()  # after the first block each row has an image of its own
    attention = transformer.final_attn_token_to_image
    looked = look_at_cells(attention, queries + tokens, keys + places, keys)
    queries = transformer.norm_final_attn(queries + looked)
    count = 1 + cast(int, decoder.num_mask_tokens)
    return DecoderOutput(
        mask_tokens=queries[:, 1:count],
        iou_token=queries[:, 0],
        features=_upscale(decoder.output_upscaling, keys),
    )


def _cells_first(channels: Tensor) -> Tensor:
    """Channels of cells as cells of channels, contiguous. Shape (B, c, g*g) -> (B, g*g, c)."""
    if in_graph():
        return channels.mT.contiguous()
    # One image at a time: PyTorch transposes matrices in blocks, five times faster than batches of them.
    return torch.stack([one.t().contiguous() for one in channels])


def _block(
    block: Any,
    queries: Tensor,
    keys: Tensor,
    tokens: Tensor,
    position: Tensor,
    sharing: Sharing,
    there: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """One two-way block."""
    if block.skip_first_layer_pe:
        queries = attend(block.self_attn, queries, queries, queries, there)
    else:
        placed = queries + tokens
        queries = queries + attend(block.self_attn, placed, placed, queries, there)
    queries = block.norm1(queries)
    placed_keys = keys + position
    looked = look_at_cells(block.cross_attn_token_to_image, queries + tokens, placed_keys, keys, sharing)
    queries = block.norm2(queries + looked)
    queries = block.norm3(queries + block.mlp(queries))
    looked = look_at_tokens(block.cross_attn_image_to_token, placed_keys, queries + tokens, queries, sharing, there)
    return queries, block.norm4(plus(sharing.spread(keys), looked))


def plus(x: Tensor, fresh: Tensor) -> Tensor:
    """x + fresh, in the memory of `fresh`, which nobody else may hold, where types allow: images are slow to write.

    Not where gradients are wanted: `fresh` is then a view, whose change in place costs copies on the way back.
    """
    return fresh.add_(x) if fresh.dtype == x.dtype and not fresh.requires_grad else x + fresh


def _upscale(layers: Any, cells: Tensor) -> Tensor:
    """SAM's upscaling, whose layers all work cell by cell. Shape (n, g*g, 256) -> (n, 32, g*g, 16)."""
    first, norm, activation, second, last_activation = layers
    halves = F.layer_norm(_four(first, cells), (first.out_channels,), norm.weight, norm.bias, norm.eps)
    return last_activation(_four(second, activation(halves))).flatten(2, 3).movedim(-1, 1)


def _four(convolution: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A 2x2 transposed convolution of stride 2: what each cell becomes four of. Shape (..., c) -> (..., 4, c')."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (2 * 2 * c', c)
    bias = None if convolution.bias is None else convolution.bias.repeat(4)
    return F.linear(x, weight, bias).unflatten(-1, (4, -1))
