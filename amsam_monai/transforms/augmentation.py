"""Random colour, flips, rotation and scale of image and label together, with AutoSAM's settings per data set."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchvision.transforms.v2.functional as tv
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, RandFlipd, Randomizable, RandomizableTransform, Transform
from monai.utils import ensure_tuple
from torch import Tensor

from amsam_monai.keys import IGNORE_INDEX, IMAGE, LABEL
from amsam_monai.transforms.sam_input import SAM_MEAN


@dataclass(frozen=True)
class Augmentation:
    """How far the random changes of a data set go.

    Args:
        jitter: largest change v of brightness, contrast, saturation (factors 1 - v .. 1 + v) and hue (-v .. v).
        degrees: largest rotation to either side.
        scale: smallest and largest magnification.
        left_right: probability of a mirror image.
        top_bottom: probability of an upside-down image.
    """

    jitter: tuple[float, float, float, float]
    degrees: float
    scale: tuple[float, float] = (0.75, 1.25)
    left_right: float = 0.5
    top_bottom: float = 0.0


# As in AutoSAM's code; the paper's text differs in the rotations (GlaS: "translation of 5", MoNuSeg: 20 degrees).
AUGMENTATIONS = {
    "glas": Augmentation(jitter=(0.2, 0.2, 0.2, 0.1), degrees=5),
    "monuseg": Augmentation(jitter=(0.4, 0.4, 0.4, 0.1), degrees=22),
    "polyp": Augmentation(jitter=(0.4, 0.4, 0.4, 0.1), degrees=90, top_bottom=0.5),
}


def autosam_augmentation(dataset: str | Augmentation, *, framed: bool = False) -> Transform:
    """AutoSAM's augmentation of (image, label) samples, as a MONAI transform that can be seeded.

    Args:
        dataset: a name of AUGMENTATIONS, or your own settings.
        framed: samples lie in SAM's square already; only the image in it is changed, not the padding.

    Raises:
        ValueError: unknown name.
    """
    if isinstance(dataset, str):
        if dataset not in AUGMENTATIONS:
            raise ValueError(f"augmentation must be one of {', '.join(AUGMENTATIONS)}, got {dataset!r}.")
        dataset = AUGMENTATIONS[dataset]
    keys = (IMAGE, LABEL)
    steps = Compose(
        [
            ColourJitterd(jitter=dataset.jitter),
            RandFlipd(keys, prob=dataset.top_bottom, spatial_axis=0),
            RandFlipd(keys, prob=dataset.left_right, spatial_axis=1),
            RotateScaled(degrees=dataset.degrees, scale=dataset.scale),
        ]
    )
    return InsidePaddingd(steps) if framed else steps


class ColourJitterd(RandomizableTransform, MapTransform):
    """Change brightness, contrast, saturation and hue of RGB images by random amounts in random order.

    Args:
        keys: images in [0, 1].
        jitter: see `Augmentation`.
        allow_missing_keys: pass over keys that a sample lacks.

    Shape: (3, H, W) -> the same.
    """

    CHANGES = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)

    def __init__(
        self, keys: KeysCollection = (IMAGE,), *, jitter: Sequence[float], allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self)
        self.centres, self.jitter = np.array([1.0, 1.0, 1.0, 0.0]), np.asarray(jitter, dtype=float)
        self._order, self._amounts = np.arange(4), self.centres

    def randomize(self, data: Any = None) -> None:
        """Draw order and amounts of the four changes."""
        self._order = self.R.permutation(4)
        self._amounts = self.R.uniform(self.centres - self.jitter, self.centres + self.jitter)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with its images changed alike."""
        sample = dict(data)
        self.randomize()
        for key in self.key_iterator(sample):
            image = _plain(sample[key])
            for index in self._order:
                if self.jitter[index]:
                    image = self.CHANGES[index](image, float(self._amounts[index]))
            sample[key] = _like(image, sample[key])
        return sample


class RotateScaled(RandomizableTransform, MapTransform):
    """Rotate and magnify image and label about the centre; what comes in is black, and background in the label.

    Args:
        keys: entries of one height and width.
        degrees: largest rotation to either side.
        scale: smallest and largest magnification.
        label_keys: those of them that are label maps: nearest neighbours.
        allow_missing_keys: pass over keys that a sample lacks.

    Shape: (C, H, W) -> the same.
    """

    def __init__(
        self,
        keys: KeysCollection = (IMAGE, LABEL),
        *,
        degrees: float,
        scale: tuple[float, float],
        label_keys: KeysCollection = (LABEL,),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self)
        self.degrees, self.scale, self.label_keys = degrees, scale, ensure_tuple(label_keys)
        self._angle, self._scale = 0.0, 1.0

    def randomize(self, data: Any = None) -> None:
        """Draw angle and magnification."""
        self._angle = float(self.R.uniform(-self.degrees, self.degrees))
        self._scale = float(self.R.uniform(*self.scale))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with its entries moved alike."""
        sample = dict(data)
        self.randomize()
        for key in self.key_iterator(sample):
            mode = tv.InterpolationMode.NEAREST if key in self.label_keys else tv.InterpolationMode.BILINEAR
            moved = tv.affine(_plain(sample[key]), self._angle, [0, 0], self._scale, [0.0, 0.0], interpolation=mode)
            sample[key] = _like(moved, sample[key])
        return sample


class InsidePaddingd(Randomizable, Transform):
    """Apply a transform to the image inside SAM's square; the padding stays at the bottom and right as it was.

    The label's IGNORE_INDEX tells where the padding is, as `SquareImaged` leaves it.

    Args:
        transform: of (image, label) samples; keeps height and width.
        fill: colour of the padding in [0, 1].

    Shape: image (3, S, S), label (1, S, S) -> the same.
    """

    def __init__(self, transform: Compose, fill: Sequence[float] = SAM_MEAN) -> None:
        self.transform, self.fill = transform, tuple(fill)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> InsidePaddingd:
        """Seed the transform inside."""
        self.transform.set_random_state(seed=seed, state=state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with what the image covers changed."""
        image, label = _plain(data[IMAGE]), _plain(data[LABEL])
        covered = label[0] != IGNORE_INDEX
        rows, columns = int(covered.any(1).sum()), int(covered.any(0).sum())
        inside = self.transform({**data, IMAGE: image[:, :rows, :columns], LABEL: label[:, :rows, :columns]})
        image = image.new_tensor(self.fill).reshape(-1, 1, 1).expand_as(image).clone()
        label = torch.full_like(label, IGNORE_INDEX)
        image[:, :rows, :columns], label[:, :rows, :columns] = _plain(inside[IMAGE]), _plain(inside[LABEL])
        return {**inside, IMAGE: _like(image, data[IMAGE]), LABEL: _like(label, data[LABEL])}


def _plain(entry: Any) -> Tensor:
    return entry.as_tensor() if isinstance(entry, MetaTensor) else torch.as_tensor(entry)


def _like(tensor: Tensor, given: Any) -> Tensor:
    return MetaTensor(tensor).copy_meta_from(given) if isinstance(given, MetaTensor) else tensor
