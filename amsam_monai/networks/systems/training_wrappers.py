"""Ways to train a system for less: on windows of its square, or without its encoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from amsam_monai.networks.systems.system import System


class OnWindows(nn.Module):
    """Let a system see windows of its square; what it learns serves whole images.

    TinyViT looks at windows of cells only, so its weights fit any size. The positions that decoder and prompter see are
    those of a random place in the square, one for each batch. Not for evaluation, nor for prompts in pixels.

    Args:
        module: the system; its name is that of other wrappers, so that adapters are saved and loaded through this one.
        side: of the windows in pixels, see `SAM.window`; the system's image size trains on whole images.

    Shape: window (B, 3, side, side), at the scale of the square -> what the system gives for it.

    Raises:
        ValueError: the side does not fit.
    """

    def __init__(self, module: System, *, side: int) -> None:
        super().__init__()
        with module.sam.window(side):
            self.grid = module.sam.grid
        self.module, self.side = module, side

    def forward(self, image: torch.Tensor, **arguments: Any) -> Any:
        """What the system gives; arguments as `System.forward` takes them."""
        sam = self.module.sam
        row, column = torch.randint(sam.grid - self.grid + 1, (2,)).tolist()
        with sam.window(self.side, (row, column)):
            return self.module(image, **arguments)


@contextmanager
def fixed_encoder(system: System) -> Iterator[System]:
    """Let nothing in a system's image encoder train while the block runs, so that its embeddings may be kept.

    What trained in it before is still a part of the adapter afterwards.
    """
    trained = [parameter for parameter in system.sam.image_encoder.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield system
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
