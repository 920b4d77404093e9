"""An item of a datalist as tensors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform

from amsam_monai.data.datasets.reading import RULES, read_case
from amsam_monai.data.files.load import as_tensor
from amsam_monai.keys import IMAGE, LABEL


class LoadCased(Transform):
    """Read image and label of a datalist's item as tensors that fit each other.

    Where `LoadFiled` gives what the files hold, this also turns 0/255 masks and instance ids into class indices and
    brings masks that are smaller than their image to its size. Follows the item's `label_rule`.

    Args:
        rule: for items that do not say.

    Shape: image (C, H, W), label (1, H, W), or (1, I, J, K) both.
    """

    def __init__(self, rule: str = "table") -> None:
        if rule not in RULES:
            raise ValueError(f"label rule must be one of {RULES}, got {rule!r}.")
        self.rule = rule

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with tensors in place of its two paths."""
        case = read_case(data[IMAGE], data[LABEL], data.get("label_rule", self.rule))
        read: dict[Hashable, Any] = {IMAGE: as_tensor(case.image, torch.float32)}
        read[LABEL] = as_tensor(case.label, torch.int64)
        return {**data, **read}
