"""Views of cached embeddings mirrored and turned while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch
from torch import Tensor

from amsam_monai.engines.prepare_batch import PrepareSystemBatch


class PrepareTurnedBatch(PrepareBatch):
    """Image, label and embedding of each square, moved together by one of the square's eight symmetries at random.

    SAM's encoder knows no such symmetry, but its embedding of a mirrored image is close to the mirrored embedding:
    close enough to train on, and it costs nothing. Logits are asked for at the decoder's resolution.

    Args:
        turns: False leaves the squares as they are.
        colour: largest random change of brightness, contrast and saturation of the image, see `recoloured`. The
            embedding stays, so this is for what looks at the image beside it.

    Raises:
        ValueError: `colour` out of range; at the call, an image is not square, or the batch brings no label.
    """

    def __init__(self, *, turns: bool = True, colour: float = 0.0) -> None:
        if not 0 <= colour < 1:
            raise ValueError(f"colour must be in [0, 1), got {colour}.")
        self.prepare = PrepareSystemBatch(low_res=True)
        self.turns, self.colour = turns, colour

    def __call__(
        self, batchdata: dict[str, Tensor], *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, tuple[()], dict[str, Any]]:
        """See `PrepareSystemBatch`."""
        image, label, positional, arguments = self.prepare(batchdata, *args, **kwargs)
        if self.colour:
            image = recoloured(image, self.colour)
        if not self.turns:
            return image, label, positional, arguments
        if image.shape[-1] != image.shape[-2] or label is None:
            raise ValueError(
                f"turns need square images with label, got {tuple(image.shape)} and {sorted(batchdata)}; "
                "bring images into SAM's square first (SquareImaged), or set turns=False."
            )
        moves = torch.randint(8, (len(image),)).tolist()
        if (embedding := arguments.get("embedding")) is not None:
            arguments["embedding"] = _moved(embedding, moves)
        return _moved(image, moves), _moved(label, moves), positional, arguments


def _moved(batch: Tensor, moves: Sequence[int]) -> Tensor:
    return torch.stack([turned(one, move) for one, move in zip(batch, moves, strict=True)])


def recoloured(images: Tensor, amount: float) -> Tensor:
    """Images of random brightness, contrast, saturation (factors 1 - amount .. 1 + amount) and a third as much tint.

    Shape: (B, 3, H, W) in [0, 1] -> the same.
    """

    def factor(channels: int, reach: float) -> Tensor:
        return 1 + reach * (2 * torch.rand(len(images), channels, 1, 1, device=images.device) - 1)

    images = images * factor(3, amount / 3) * factor(1, amount)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * factor(1, amount)
    grey = images.mean(1, keepdim=True)
    return (grey + (images - grey) * factor(1, amount)).clamp(0, 1)


def turned(x: Tensor, move: int) -> Tensor:
    """A square map under symmetry 0 (none) to 7; what is no map stays. Shape (C, S, S) -> the same."""
    if x.ndim < 3:
        return x  # the embedding of a network that has none
    if move & 1:
        x = x.transpose(-1, -2)
    flips = [dim for dim, bit in ((-1, 2), (-2, 4)) if move & bit]
    return x.flip(flips) if flips else x
