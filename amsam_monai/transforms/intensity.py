"""From stored values to [0, 1]: Hounsfield windows, percentiles, 8-bit and already scaled images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor

from amsam_monai.keys import IMAGE
from amsam_monai.transforms.black_white import BlackAndWhite


class Intensity(BlackAndWhite, Transform):
    """Scale values linearly to [0, 1] as float32, between the limits of `BlackAndWhite`, and clip them.

    Takes the arguments of `BlackAndWhite`.

    Shape: any; with per="slice" the last axis counts the slices of an array of more than three axes.
    """

    def limits(self, values: np.ndarray | Tensor, bits: int | None = None) -> tuple[float, float]:
        """See `BlackAndWhite.limits`."""
        return super().limits(values.detach().cpu().numpy() if isinstance(values, Tensor) else values, bits)

    def apply(self, values: Tensor, limits: tuple[float, float]) -> Tensor:
        """`values` between `limits` as float32 in [0, 1]; all 0 where the limits are one value."""
        low, high = limits
        values = values.to(torch.float32)
        if not low < high:
            return torch.zeros_like(values)
        return ((values - low) / (high - low)).clamp_(0, 1)

    def __call__(self, image: np.ndarray | Tensor) -> Tensor:
        """The image in [0, 1]."""
        tensor = image if isinstance(image, Tensor) else torch.from_numpy(np.ascontiguousarray(image))
        if not self.by_slice or tensor.ndim <= 3:
            return self.apply(tensor, self.limits(image))
        slices = [self.apply(one, self.limits(one)) for one in tensor.unbind(-1)]
        return torch.stack(slices, dim=-1)


class Intensityd(MapTransform):
    """`Intensity` on the entries of a sample.

    Args:
        keys: entries to scale; `image` by default.
        allow_missing_keys: pass over keys that a sample lacks.
        intensity: arguments of `Intensity`.
    """

    def __init__(self, keys: KeysCollection = (IMAGE,), allow_missing_keys: bool = False, **intensity: Any) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scale = Intensity(**intensity)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with its images in [0, 1]."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.scale(sample[key])
        return sample
