"""Label values as files hold them, and class indices as networks count them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

from amsam_monai.keys import IGNORE_INDEX, LABEL


def class_index(label: Tensor, values: Mapping[int, int]) -> Tensor:
    """A label map in class indices: values that are no class become background, 255 stays.

    Args:
        label: values of a label file, any shape.
        values: value -> class index.
    """
    if all(value == index for value, index in values.items()):
        return label
    indices = torch.where(label == IGNORE_INDEX, label, torch.zeros_like(label))
    for value, index in values.items():
        indices = torch.where(label == value, torch.full_like(label, index), indices)
    return indices


class ClassIndexd(MapTransform):
    """`class_index` on the label of a sample.

    Args:
        keys: label maps; `label` by default.
        allow_missing_keys: pass over keys that a sample lacks.
        values: value -> class index, such as `Settings.label_map`; labels stay where each value is its own index.
    """

    def __init__(
        self, keys: KeysCollection = (LABEL,), allow_missing_keys: bool = False, *, values: Mapping[int, int]
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.values = {int(value): int(index) for value, index in values.items()}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with class indices as its label."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = class_index(sample[key], self.values)
        return sample
