"""Random views of an image, new at every step, for networks whose encoder trains too."""

from __future__ import annotations

import torch
from monai.transforms import CastToTyped, Compose

from amsam_monai import keys
from amsam_monai.transforms.augmentation import ColourJitterd
from amsam_monai.transforms.windows import RandWindowd


def random_views(side: int) -> Compose:
    """Random turns, mirror images, sizes and colours of an image and its label, in a square.

    Args:
        side: of the square, in pixels, which the image's longest side fills.

    Shape: image (3, H, W) in [0, 1] and label (1, H, W) -> (3, side, side) and (1, side, side).
    """
    window = RandWindowd(size=side, window=side, follow=0.0, degrees=45)
    colours = ColourJitterd(jitter=(0.3, 0.3, 0.3, 0.05))
    return Compose([CastToTyped(keys=keys.IMAGE, dtype=torch.float32), window, colours])
