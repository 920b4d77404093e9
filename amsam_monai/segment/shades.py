"""How bright an image is as the network sees it, in a few numbers."""

from __future__ import annotations

import numpy as np
import torch

from amsam_monai.data.files.images import LoadedImage
from amsam_monai.data.files.load import picture_tensor
from amsam_monai.data.slices import SliceView
from amsam_monai.transforms.intensity import Intensity
from amsam_monai.transforms.sam_input import three_channels

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SAMPLES = 64  # values along an axis that are looked at, up to twice as many
SLICES = 16  # slices that are looked at where each has a scale of its own


def black_and_white(image: LoadedImage, intensity: Intensity) -> tuple[float, float]:
    """Stored values of a volume, or those of a picture on the scale of 8 bits, that become 0 and 1.

    Raises:
        ValueError: the intensity refuses the values.
    """
    if image.kind == "volume":
        return intensity.limits(image.array, image.bits)
    return intensity.limits(picture_tensor(image))


def shades(
    image: LoadedImage, intensity: Intensity, view: SliceView | None, ends: tuple[float, float] | None = None
) -> np.ndarray:
    """The QUANTILES of an image's values in [0, 1], of every n-th value of a large one.

    Args:
        image: a volume or a picture; grey pictures count three times.
        intensity: how stored values come to [0, 1].
        view: how a volume is cut, for an intensity of each slice; None for a picture.
        ends: `black_and_white` of the image, where it is known.

    Shape: (C, 5), C is 1 for a volume and 3 for a picture.
    """
    if view is not None and intensity.by_slice:
        slices = view.see(image.array)
        planes = [torch.from_numpy(one.copy()) for one in slices[:: -(-len(slices) // SLICES)]]
        values = np.concatenate([sample(intensity.apply(one, intensity.limits(one)).numpy()).ravel() for one in planes])
        return np.quantile(values, QUANTILES)[None]
    ends = ends or black_and_white(image, intensity)
    if image.kind == "volume":
        raw = torch.from_numpy(np.ascontiguousarray(sample(image.array)))[None]
    else:
        raw = torch.stack(
            [torch.from_numpy(sample(one.numpy()).copy()) for one in three_channels(picture_tensor(image))]
        )
    return np.quantile(intensity.apply(raw, ends).flatten(1).numpy(), QUANTILES, axis=1).T


def sample(array: np.ndarray) -> np.ndarray:
    """Every n-th value along each axis, a view of at most 2 SAMPLES along each."""
    return array[tuple(slice(None, None, max(1, length // SAMPLES)) for length in array.shape)]
