"""From a scaled image to SAM's input: three channels, the range [0, 1], and the square."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple
from torch import Tensor

from amsam_monai.framing import SquareFrame
from amsam_monai.keys import IGNORE_INDEX, IMAGE, LABEL

SAM_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)  # segment-anything's pixel_mean, which its padding amounts to


def three_channels(image: Tensor) -> Tensor:
    """Grey repeated three times, RGB as it is, RGBA without its alpha.

    Shape: (1, ...), (3, ...) or (4, ...) -> (3, ...).

    Raises:
        ValueError: another number of channels.
    """
    channels = image.shape[0] if image.ndim > 2 else 0
    if channels == 1:
        return image.repeat(3, *[1] * (image.ndim - 1))
    if channels in (3, 4):
        return image[:3]
    raise ValueError(f"image must have 1, 3 or 4 channels first, got {tuple(image.shape)}; load it channel first.")


def check_unit_range(image: Tensor) -> None:
    """Refuse what does not lie in [0, 1].

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: NaN, or values outside [0, 1].
    """
    if not image.is_floating_point():
        raise TypeError(f"image must be a floating-point tensor in [0, 1], got {image.dtype}; use Intensityd.")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0.0 and high <= 1.0):  # also refuses NaN
        raise ValueError(f"image must lie in [0, 1], got values from {low:.4g} to {high:.4g}; use Intensityd.")


class ToThreeChannelsd(MapTransform):
    """Give images three channels, see `three_channels`."""

    def __init__(self, keys: KeysCollection = (IMAGE,), allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with images of three channels."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = three_channels(sample[key])
        return sample


class CheckUnitRanged(MapTransform):
    """Refuse a sample whose images do not lie in [0, 1]; the last transform before the network."""

    def __init__(self, keys: KeysCollection = (IMAGE,), allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample, unchanged."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            check_unit_range(sample[key])
        return sample


class SquareImaged(MapTransform):
    """Lay images and labels into SAM's square, so that samples of different size form a batch.

    A system leaves such a square as it is, so that training on squares and inference on images of any size see the same
    pixels. Not for inference: the prediction would include the padding.

    Args:
        keys: entries to frame.
        label_keys: those of them that are label maps: nearest neighbours, padding never scored (255).
        size: side of the square, the network's image size.
        mode: "pad" keeps the aspect, "stretch" does not, see `SquareFrame`.
        fill: colour of the padding in [0, 1], the system's `sam.fill`; by default SAM's mean colour.
        allow_missing_keys: pass over keys that a sample lacks.

    Shape: image (C, H, W) -> (C, S, S), label (1, H, W) -> (1, S, S).

    Raises:
        ValueError: an entry is not (C, H, W), or image and label differ in height and width.
    """

    def __init__(
        self,
        keys: KeysCollection = (IMAGE, LABEL),
        *,
        size: int,
        mode: str = "pad",
        fill: Sequence[float] | float = SAM_MEAN,
        label_keys: KeysCollection = (LABEL,),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        SquareFrame(1, 1, size, mode)  # refuses an unknown mode and an empty square
        self.size, self.mode = size, mode
        self.fill = (float(fill),) if isinstance(fill, (int, float)) else tuple(fill)
        self.label_keys = ensure_tuple(label_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with square images and labels."""
        sample = dict(data)
        shapes = {}
        for key in self.key_iterator(sample):
            given = sample[key]
            entry = given.as_tensor() if isinstance(given, MetaTensor) else torch.as_tensor(given)
            if entry.ndim != 3:
                raise ValueError(f"{key} must have shape (C, H, W), got {tuple(entry.shape)}.")
            shapes[key] = tuple(entry.shape[1:])
            frame = SquareFrame(entry.shape[1], entry.shape[2], self.size, self.mode)
            square = (
                frame.label(entry[None], IGNORE_INDEX)
                if key in self.label_keys
                else frame.image(entry[None], self.fill)
            )
            sample[key] = MetaTensor(square[0]).copy_meta_from(given) if isinstance(given, MetaTensor) else square[0]
        if len(set(shapes.values())) > 1:
            raise ValueError(f"entries must have one height and width, got {shapes}; resize the label with nearest.")
        return sample
