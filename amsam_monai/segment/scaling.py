"""Intensities of volumes whose slices have their own: along the slices that the network sees."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor

from amsam_monai.keys import IMAGE
from amsam_monai.segment.slice_inferer import SliceInferer
from amsam_monai.transforms.intensity import Intensity


class ScaleImaged(Transform):
    """`Intensity` on the image of a sample, by the slices that `SliceInferer` takes where each has its own.

    Args:
        intensity: arguments of `Intensity`.
        slices: arguments of `SliceInferer`.

    Shape: image (C, H, W) or (C, I, J, K).
    """

    def __init__(self, intensity: Mapping[str, Any], slices: Mapping[str, Any]) -> None:
        self.intensity, self.inferer = Intensity(**intensity), SliceInferer(**slices)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with its image in [0, 1]."""
        return {**data, IMAGE: self._scaled(data[IMAGE])}

    def _scaled(self, image: Tensor) -> Tensor:
        if not self.intensity.by_slice or image.ndim != 4:
            return self.intensity(image)
        affine = np.asarray(image.affine) if isinstance(image, MetaTensor) else None
        axis = 1 + self.inferer.view(image.shape[1:], affine).axes[0]
        return self.intensity(image.movedim(axis, -1)).movedim(-1, axis)
