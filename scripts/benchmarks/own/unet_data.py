"""Cases of a task as a U-Net sees them: pictures, slices with their neighbours, or whole volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from torch import Tensor
from torch.utils.data import Dataset

from amsam_monai.data.datasets.load_cased import LoadCased
from amsam_monai.data.slices import SliceView
from amsam_monai.transforms.augmentation import ColourJitterd
from amsam_monai.transforms.intensity import Intensity
from amsam_monai.transforms.sam_input import three_channels
from benchmarks.own.unet_plan import Plan

FOREGROUND_SHARE = 0.67  # of the samples, that show a class on purpose
KEYS = ("image", "label")
MODES = ("bilinear", "nearest")


@dataclass
class Seen:
    """A case on the grid that the network sees.

    Args:
        image: in [0, 1].
        label: class indices; None in a test case.
        view: how a volume was cut into slices.

    Shape: in 2D image (D, C, H, W) and label (D, H, W), one slice for a picture; in 3D (1, C, I, J, K), (1, I, J, K).
    """

    image: Tensor
    label: Tensor | None
    view: SliceView | None


def load(item: Mapping[str, Any], labels: Mapping[int, str]) -> dict[str, Any]:
    """A case as stored: image (C, H, W) or (1, I, J, K), label with class indices 1, 2, ... in the table's order."""
    return LoadCased(classes={name: value for value, name in labels.items()})(item)


def see(image: Tensor, label: Tensor | None, plan: Plan) -> Seen:
    """A case as the plan wants it.

    Args:
        image: as stored.
        label: class indices.
        plan: of the task.

    Shape: image (C, H, W) or (1, I, J, K); label (1, H, W) or (1, I, J, K).
    """
    affine = np.asarray(image.affine)
    pixels = torch.as_tensor(Intensity(**plan.intensity)(image.as_tensor()))
    truth = None if label is None else label.as_tensor()[0]
    if plan.dims == 3:
        return Seen(pixels[None], None if truth is None else truth[None], None)
    if pixels.ndim == 3:
        pixels, view = three_channels(pixels)[None], None
        truth = None if truth is None else truth[None]
    else:
        view = SliceView.of(pixels.shape[1:], affine)
        pixels = view.take(pixels[0], 0, view.depth)[:, None]
        truth = None if truth is None else view.take(truth, 0, view.depth)
    pixels = F.interpolate(pixels, plan.size(pixels.shape[-2:]), mode="bilinear", antialias=True, align_corners=False)
    if truth is not None:
        truth = F.interpolate(truth[:, None].float(), pixels.shape[-2:], mode="nearest-exact")[:, 0].to(torch.uint8)
    return Seen(pixels.contiguous(), truth, view)


def with_neighbours(image: Tensor, place: int) -> Tensor:
    """A slice with the one before and the one after as channels, or a picture. Shape (D, C, H, W) -> (3, H, W)."""
    if image.shape[1] == 3:
        return image[place]
    places = [min(max(place + step, 0), len(image) - 1) for step in (-1, 0, 1)]
    return torch.cat([image[one] for one in places])


class Samples(Dataset):
    """Random, augmented patches; sample number n of a seed is always the same.

    Args:
        cases: of the training.
        plan: of the task.
        count: number of samples.
        seed: of the draws.
        colours: pictures, whose colours change too.
    """

    def __init__(self, cases: Sequence[Seen], plan: Plan, *, count: int, seed: int, colours: bool) -> None:
        self.cases, self.plan, self.count, self.seed = list(cases), plan, count, seed
        self.augment = augmentation(plan, colours=colours)
        self.places = [_places(case) for case in cases]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, number))
        which = int(rng.integers(len(self.cases)))
        case, places = self.cases[which], self.places[which]
        centre = None
        if places and rng.random() < FOREGROUND_SHARE:
            candidates = places[sorted(places)[int(rng.integers(len(places)))]]
            centre = candidates[int(rng.integers(len(candidates)))]
        index = int(rng.integers(len(case.image)) if centre is None else centre[0])
        image = with_neighbours(case.image, index) if self.plan.dims == 2 else case.image[index]
        assert case.label is not None
        sample = self._crop(image, case.label[index][None], None if centre is None else centre[1:], rng)
        self.augment.set_random_state(seed=int(rng.integers(2**31)))
        found = self.augment(sample)
        return {"image": torch.as_tensor(found["image"]), "label": torch.as_tensor(found["label"]).long()}

    def _crop(self, image: Tensor, label: Tensor, centre: Any, rng: np.random.Generator) -> dict[str, Tensor]:
        """A patch about a place, padded where the image is smaller."""
        box, widths = [], []
        for axis, wanted in enumerate(self.plan.patch):
            room = image.shape[axis + 1] - wanted
            start, before = 0, max(0, -room // 2)
            if room > 0:  # the place lies anywhere in the middle half of the patch
                drawn = centre[axis] - rng.integers(wanted // 4, wanted - wanted // 4) if centre is not None else None
                start = int(np.clip(rng.integers(room + 1) if drawn is None else drawn, 0, room))
            box.append(slice(start, start + wanted))
            widths = [before, max(0, -room) - before, *widths]  # torch counts from the last axis
        part = (slice(None), *box)
        return {"image": F.pad(image[part], widths), "label": F.pad(label[part], widths)}


def augmentation(plan: Plan, *, colours: bool) -> Compose:
    """nnU-Net's kinds of change: turns, sizes, mirror images where allowed, noise, blur, brightness, contrast."""
    angle = (np.pi,) if plan.any_way_up else (np.pi / 12,)
    turns = angle if plan.dims == 2 else angle * 3
    steps: list[Any] = [
        RandAffined(
            KEYS,
            prob=0.8,
            rotate_range=turns,
            scale_range=((-0.3, 0.4),) * plan.dims,
            translate_range=tuple(length * 0.06 for length in plan.patch),
            shear_range=(0.1,) * plan.dims,
            mode=MODES,
            padding_mode="zeros",
        ),
        *(RandFlipd(KEYS, prob=0.5, spatial_axis=axis) for axis in plan.mirrors),
    ]
    if colours:
        steps.append(ColourJitterd(jitter=(0.3, 0.3, 0.3, 0.05)))
    else:
        steps += [
            RandScaleIntensityd("image", factors=0.25, prob=0.4),
            RandShiftIntensityd("image", offsets=0.1, prob=0.4),
            RandAdjustContrastd("image", gamma=(0.7, 1.5), prob=0.3),
        ]
    steps += [
        RandGaussianNoised("image", prob=0.15, std=0.05),
        RandGaussianSmoothd("image", prob=0.15),
    ]
    return Compose(steps)


def _places(case: Seen) -> dict[int, np.ndarray]:
    """Class -> some of the places (slice, row, column ...) where it lies."""
    assert case.label is not None
    found = {}
    for value in case.label.unique().tolist():
        if value:
            places = (case.label == value).nonzero().numpy()
            found[int(value)] = places[:: max(1, len(places) // 4096)]
    return found
