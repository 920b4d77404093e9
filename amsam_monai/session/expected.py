"""How good the masks of an open image are expected to be, from what the network said while it made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from amsam_monai.segment.calibration import expected_dice
from amsam_monai.segment.quality import features, mask_sums, seen_sums
from amsam_monai.session.open_image import OpenImage


class ExpectedDice:
    """The Dice to expect of an open image's masks, as `amsam segment` tells it.

    Args:
        block: the settings' `quality`, see `fit_quality`; None tells nothing.
        labels: name of every class index above 0.
    """

    def __init__(self, block: Mapping[str, Any] | None, labels: Mapping[int, str]) -> None:
        self.block, self.labels = block or {}, dict(labels)
        self._seen: dict[int, np.ndarray] = {}  # by slice, sums (K, SEEN) of the last answer

    def observe(self, number: int, logits: Tensor, parts: Sequence[Tensor]) -> None:
        """Take in the answer for a slice: logits (1, K+1, H, W), and those of the image and of each flip of it."""
        if self.block:
            self._seen[number] = seen_sums(logits, parts)[0]

    def of(self, opened: OpenImage, number: int | None) -> dict[str, tuple[float, float]]:
        """Per class name the Dice to expect in a slice, or in the whole image (None), and its error.

        Nothing where the network is not calibrated for it, or where slices are not segmented. A class that was painted
        by hand there is left out: what a person draws is not the network's to judge.
        """
        part = "case" if number is None or opened.image.view is None else "slice"
        numbers = range(opened.image.depth) if number is None else [number]
        if part not in self.block or not opened.results.keys() >= set(numbers):
            return {}
        sums = self._sums(opened, numbers).sum(0)
        painted = {index for one in numbers for index in opened.painted_classes(one)}
        told = {
            name: expected_dice(features(sums[index - 1]), name, self.block[part])
            for index, name in self.labels.items()
            if index not in painted
        }
        return {name: (round(value, 4), round(error, 4)) for name, (value, error) in told.items()}

    def _sums(self, opened: OpenImage, numbers: Sequence[int]) -> np.ndarray:
        """SUMS of neighbouring slices and their classes, beside the slices next to them where these are segmented.

        Shape: (slices, K, SUMS).
        """
        near = sorted({at for number in numbers for at in (number - 1, number, number + 1)} & opened.results.keys())
        masks = mask_sums(np.stack([opened.plane(at) for at in near]), len(self.labels))
        seen = np.stack([self._seen[number] for number in numbers])
        return np.concatenate([seen, masks[[near.index(number) for number in numbers]]], axis=2)
