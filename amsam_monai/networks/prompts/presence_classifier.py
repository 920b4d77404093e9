"""Which classes are in the image: AI-SAM's classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.sam.token_image_transformer import WIDTH, Attention, ConvMLP, token_mlp


class PresenceBlock(nn.Module):
    """Class tokens look at the image; the image is convolved and halved.

    Shape: tokens (B, 1, C, 256), image (B, 1, h, w, 256) -> tokens, image (B, 1, h/2, w/2, 256), rounded up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.token_to_image = Attention(WIDTH // 2)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.mlp = token_mlp()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.conv_mlp = ConvMLP()
        self.norm3 = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """One round."""
        keys = image.flatten(2, 3)
        tokens = self.norm1(tokens + self.token_to_image(tokens, keys, keys))
        tokens = self.norm2(tokens + self.mlp(tokens))
        image = (image + self.conv_mlp(image))[:, 0].movedim(-1, 1)
        image = F.avg_pool2d(image, 3, stride=2, padding=1, count_include_pad=False)
        return tokens, self.norm3(image.movedim(1, -1)[:, None])


class PresenceClassifier(nn.Module):
    """Logit of each class being in the image (AI-SAM, arXiv:2312.03119, section 4).

    A class token looks at the embedding four times, each time at half the resolution; tokens do not see each other, so
    classes are independent given the image.

    Args:
        num_classes: C, background counted.
        depth: blocks.

    Shape: embedding (B, 256, h, w) of any h and w -> (B, C) logits.

    Raises:
        ValueError: num_classes below 1, or an embedding of another width.
    """

    def __init__(self, num_classes: int, *, depth: int = 4) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, background counted, got {num_classes}.")
        self.class_queries = nn.Parameter(torch.randn(num_classes, WIDTH) * WIDTH**-0.5)
        self.layers = nn.ModuleList(PresenceBlock() for _ in range(depth))
        self.final_attention = Attention(WIDTH // 2)
        self.norm_final = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Presence logits."""
        if embedding.ndim != 4 or embedding.shape[1] != WIDTH:
            raise ValueError(f"embedding must have shape (B, {WIDTH}, h, w), got {tuple(embedding.shape)}.")
        tokens = self.class_queries.expand(embedding.shape[0], 1, -1, -1)
        image = embedding.movedim(1, -1)[:, None].contiguous()  # (B, 1, h, w, 256)
        for layer in self.layers:
            tokens, image = layer(tokens, image)
        keys = image.flatten(2, 3)
        tokens = self.norm_final(tokens + self.final_attention(tokens, keys, keys))
        return self.head(tokens)[:, 0, :, 0]
