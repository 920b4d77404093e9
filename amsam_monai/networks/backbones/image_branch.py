"""A light look at the image, for a prompt generator that reads SAM's own embedding as well."""

from __future__ import annotations

from torch import Tensor, nn


class ImageBranch(nn.Module):
    """Fine detail at stride 8, which SAM's embedding at stride 16 has lost. 179,328 parameters.

    Shape: (B, 3, H, W), normalised -> [(B, 96, H/8, W/8)].
    """

    channels = (96,)

    def __init__(self) -> None:
        super().__init__()
        width = self.channels[0]
        self.patches = nn.PixelUnshuffle(4)  # (B, 48, H/4, W/4)
        self.layers = nn.Sequential(
            _conv(48, 48),
            _conv(48, width, stride=2),
            _conv(width, width, groups=width),
            _conv(width, width),
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The map at stride 8."""
        return [self.layers(self.patches(pixels))]


def _conv(inputs: int, outputs: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, groups=groups, bias=False),
        nn.GroupNorm(8, outputs),
        nn.GELU(),
    )
