"""Layers that the AI-Prompter and the presence classifier share: tokens and an image that look at each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.sam.decoder import plus

WIDTH = 256  # channels of SAM's embedding


class Attention(nn.Module):
    """Multi-head attention whose projections may be narrower than its inputs, as SAM's.

    Either side may stand for all classes (C = 1); it is then projected once and shared. What is added to queries or
    keys is projected apart from them for the same reason.

    Args:
        inner: width of the projections.
        heads: heads.

    Shape: queries and plus_queries (B, C, L, 256), keys, plus_keys and values (B, C, M, 256), mask (C, M) True where
        attended -> (B, C, L, 256).
    """

    def __init__(self, inner: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(WIDTH, inner)
        self.k_proj = nn.Linear(WIDTH, inner)
        self.v_proj = nn.Linear(WIDTH, inner)
        self.out_proj = nn.Linear(inner, WIDTH)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        plus_queries: Tensor | None = None,
        plus_keys: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Values mixed for each query, with queries + plus_queries and keys + plus_keys."""
        batch, classes = queries.shape[0], max(queries.shape[1], keys.shape[1])
        q, k, v = self.q_proj(queries), self.k_proj(keys), self.v_proj(values)
        if plus_queries is not None:
            q += F.linear(plus_queries, self.q_proj.weight)
        if plus_keys is not None:
            k += F.linear(plus_keys, self.k_proj.weight)
        q, k, v = (self._split(part, classes) for part in (q, k, v))  # (B*C, heads, L or M, width of a head)
        if mask is not None:
            mask = mask.repeat(batch, 1)[:, None, None]  # (B*C, 1, 1, M)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2).unflatten(0, (batch, classes)))

    def _split(self, x: Tensor, classes: int) -> Tensor:
        x = x.expand(-1, classes, -1, -1).flatten(0, 1)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class ConvMLP(nn.Module):
    """3x3 convolution, layer norm over channels, GELU, 1x1 convolution. Shape (B, C, h, w, 256) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        # Channels come last throughout, in memory too: norms and 1x1 convolutions then need no copies.
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1).to(memory_format=torch.channels_last)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, image: Tensor) -> Tensor:
        """The branch's output; the caller adds it."""
        x = self.conv(image.flatten(0, 1).movedim(-1, 1)).movedim(1, -1)
        return self.mix(F.gelu(self.norm(x))).unflatten(0, image.shape[:2])


def token_mlp(hidden: int = 512) -> nn.Sequential:
    """Linear, ReLU, linear on tokens."""
    return nn.Sequential(nn.Linear(WIDTH, hidden), nn.ReLU(), nn.Linear(hidden, WIDTH))


class TokenImageBlock(nn.Module):
    """Tokens look at themselves and at the image; the image is convolved and looks at the tokens.

    Args:
        first: the first block of a stack has no residual around its self-attention, as in SAM.

    Shape: tokens (B, C, T, 256), image (B, C or 1, h, w, 256) -> tokens and image (B, C, ...).
    """

    def __init__(self, *, first: bool = False) -> None:
        super().__init__()
        self.first = first
        self.self_attention = Attention(WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.token_to_image = Attention(WIDTH // 2)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = token_mlp()
        self.norm3 = nn.LayerNorm(WIDTH)
        self.conv_mlp = ConvMLP()
        self.norm4 = nn.LayerNorm(WIDTH)
        self.image_to_token = Attention(WIDTH // 2)
        self.norm5 = nn.LayerNorm(WIDTH)

    def forward(
        self, tokens: Tensor, image: Tensor, start_tokens: Tensor, start_image: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One round; what the stack started with is added to queries and keys, where SAM adds positions."""
        if self.first:
            tokens = self.self_attention(tokens, tokens, tokens, mask=mask)
        else:
            query = tokens + start_tokens
            tokens = tokens + self.self_attention(query, query, tokens, mask=mask)
        tokens = self.norm1(tokens)
        cells, start = image.flatten(2, 3), start_image.flatten(2, 3)
        tokens = self.norm2(tokens + self.token_to_image(tokens + start_tokens, cells, cells, plus_keys=start))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(plus(image, self.conv_mlp(image)))
        cells = image.flatten(2, 3)
        looked = self.image_to_token(cells, tokens + start_tokens, tokens, plus_queries=start, mask=mask)
        return tokens, self.norm5(plus(image, looked.unflatten(2, image.shape[2:4])))


class TokenImageTransformer(nn.Module):
    """AI-SAM's prompter stack: all classes at once, each seeing only its own tokens (arXiv:2312.03119, section 4).

    Up to the first look at tokens the image is the same for all classes, and is computed once. No positions enter:
    where SAM adds them, the published code adds the tokens and the image that the stack started with.

    Args:
        depth: blocks.

    Shape: tokens (C, T, 256), embedding (B, 256, h, w), mask (C, T) -> tokens (B, C, T, 256), image (B, C, h, w, 256).
    """

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TokenImageBlock(first=index == 0) for index in range(depth))
        self.final_attention = Attention(WIDTH // 2)
        self.norm_final = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor, embedding: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens and image features of each class; `mask` is False at tokens that nobody may look at."""
        start_tokens = tokens = tokens.expand(embedding.shape[0], -1, -1, -1)  # (B, C, T, 256)
        start_image = image = embedding.movedim(1, -1)[:, None].contiguous()  # (B, 1, h, w, 256)
        for layer in self.layers:
            tokens, image = layer(tokens, image, start_tokens, start_image, mask)
        cells = image.flatten(2, 3)
        looked = self.final_attention(tokens + start_tokens, cells, cells, plus_keys=start_image.flatten(2, 3))
        return self.norm_final(tokens + looked), image
