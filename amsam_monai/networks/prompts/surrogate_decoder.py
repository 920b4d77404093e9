"""The surrogate decoder h of AutoSAM: a dense prompt becomes a mask without SAM."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.sam import EMBED_DIM


class SurrogateDecoder(nn.Module):
    """Masks from dense prompts alone (AutoSAM, arXiv:2306.06370, section 3, "A surrogate decoder for g(I)").

    Trained on a frozen g, it shows what g tells SAM; g and h together are a light segmenter. 151,809 parameters.

    Shape: dense (B, K*256, g, g) -> logits (B, K, 4g, 4g); the K classes share the decoder.

    Raises:
        ValueError: the dense prompt's channels are not a multiple of 256.
    """

    def __init__(self) -> None:
        super().__init__()
        self.up1 = nn.ConvTranspose2d(EMBED_DIM, 64, 3, stride=2, padding=1, output_padding=1)
        self.norm1 = ChannelNorm(64, eps=1e-6)
        self.up2 = nn.ConvTranspose2d(64, 16, 2, stride=2)
        self.norm2 = ChannelNorm(16, eps=1e-6)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, dense: Tensor) -> Tensor:
        """Logits at four times the grid."""
        batch, channels, height, width = dense.shape
        if channels % EMBED_DIM:
            raise ValueError(f"dense must have K*{EMBED_DIM} channels, got {channels}.")
        x = dense.reshape(-1, EMBED_DIM, height, width)  # (B*K, 256, g, g)
        x = F.gelu(self.norm1(self.up1(x)))  # (B*K, 64, 2g, 2g)
        x = F.gelu(self.norm2(self.up2(x)))  # (B*K, 16, 4g, 4g)
        return self.head(x).reshape(batch, -1, 4 * height, 4 * width)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel. Shape (B, C, h, w) -> the same."""

    def forward(self, input: Tensor) -> Tensor:
        """The normalised map."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)
