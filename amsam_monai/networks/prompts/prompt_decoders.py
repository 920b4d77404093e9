"""What turns a backbone's feature maps into a dense prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SkipDecoder(nn.Module):
    """The published decoder of g: two upsampling steps with skips, then a convolution block (AutoSAM, section 3).

    Follows the released code where the paper's text differs: leaky ReLU in the steps, no normalisation at the end.

    Args:
        channels: of the maps at strides 4, 8 and 16.
        widths: of the steps at strides 4 and 8; None takes the skips' own, as published.
        outputs: channels of the dense prompt.

    Shape: [(B, C4, H/4, W/4), (B, C8, H/8, W/8), (B, C16, H/16, W/16)] -> (B, outputs, H/4, W/4).
    """

    def __init__(self, channels: Sequence[int], outputs: int, *, widths: Sequence[int] | None = None) -> None:
        super().__init__()
        fine, middle, coarse = channels
        fine_width, middle_width = widths or (fine, middle)
        self.up1 = UpStep(coarse, middle, middle_width)
        self.up2 = UpStep(middle_width, fine, fine_width)
        self.final = nn.Sequential(
            nn.Conv2d(fine_width, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(), _last(256, outputs)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The dense prompt, before tanh."""
        fine, middle, coarse = maps
        return self.final(self.up2(self.up1(coarse, middle), fine))


class UpStep(nn.Module):
    """Upsample by two, join the skip, convolve twice.

    Shape: (B, C, h, w), skip (B, S, 2h, 2w) -> (B, width, 2h, 2w).
    """

    def __init__(self, inputs: int, skip: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs + skip, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """The joined map at the skip's resolution."""
        x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
        x = self.conv2(self.conv1(torch.cat([x, skip], dim=1)))
        return F.leaky_relu(self.norm(x), 0.01)


class EmbeddingDecoder(nn.Module):
    """Join SAM's embedding with maps of the image at the embedding's own grid; ours.

    All work is done at the grid of the prompt, with wide depthwise kernels, so that the cost is a few per cent of the
    image encoder's.

    Args:
        channels: of the image's maps.
        outputs: channels of the dense prompt.
        width: channels inside.
        depth: residual blocks.
        drop: probability with which training leaves a channel of the embedding out.

    Shape: [(B, C, h, w) for each of `channels`, (B, 256, g, g)] -> (B, outputs, g, g).
    """

    def __init__(
        self, channels: Sequence[int], outputs: int, *, width: int = 160, depth: int = 4, drop: float = 0.1
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, 256)  # SAM's embedding is about 0.1 strong
        self.drop = nn.Dropout2d(drop)
        self.joins = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in (*channels, 256))
        self.blocks = nn.Sequential(*(WideKernelBlock(width) for _ in range(depth)))
        self.final = nn.Sequential(nn.GroupNorm(8, width), nn.GELU(), _last(width, outputs))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The dense prompt, before tanh."""
        *views, embedding = maps
        parts = [*views, self.drop(self.norm(embedding))]
        joined = [_on_grid(join(part), embedding) for join, part in zip(self.joins, parts, strict=True)]
        # Channels last: wide depthwise kernels are several times faster so on CPUs.
        return self.final(self.blocks(torch.stack(joined).sum(0).contiguous(memory_format=torch.channels_last)))


class WideKernelBlock(nn.Module):
    """A residual block of one 7 x 7 depthwise convolution and two pointwise ones, as in ConvNeXt.

    Shape: (B, C, h, w) -> the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            nn.GroupNorm(8, width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The input and what the block adds."""
        return x + self.layers(x)


def _last(inputs: int, outputs: int) -> nn.Conv2d:
    """The convolution that gives the dense prompt; it starts small, so that SAM begins as without a prompt."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(conv.weight, std=0.003)
    return conv


def _on_grid(x: Tensor, grid: Tensor) -> Tensor:
    """A map at the height and width of `grid`."""
    if x.shape[-2:] == grid.shape[-2:]:
        return x
    x = x.float()  # torch has no antialiasing in bfloat16
    return F.interpolate(x, grid.shape[-2:], mode="bilinear", align_corners=False, antialias=True)
