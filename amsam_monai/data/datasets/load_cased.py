"""An item of a datalist as tensors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
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
        classes: name -> its value in the label files, in the order of the classes; the label then holds class
            indices, 1 for the first, and all other values are background. Label files that name their classes
            (.seg.nrrd, DICOM-SEG) are matched by name. None leaves the files' values.

    Shape: image (C, H, W), label (1, H, W), or (1, I, J, K) both.
    """

    def __init__(self, rule: str = "table", classes: Mapping[str, int] | None = None) -> None:
        if rule not in RULES:
            raise ValueError(f"label rule must be one of {RULES}, got {rule!r}.")
        self.rule = rule
        self.names = None if classes is None else {value: name for name, value in classes.items()}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with tensors in place of its two paths."""
        rule = data.get("label_rule", self.rule)
        if self.names is not None and rule == "table":
            rule = "named"
        case = read_case(data[IMAGE], data[LABEL], rule, self.names)
        if self.names is not None and rule == "named":
            case.label.array = _as_indices(case.label.array, list(self.names))
        read: dict[Hashable, Any] = {IMAGE: as_tensor(case.image, torch.float32)}
        read[LABEL] = as_tensor(case.label, torch.int64)
        return {**data, **read}


def _as_indices(label: np.ndarray, values: list[int]) -> np.ndarray:
    """Class indices, by the place of a value in `values`, from 1."""
    lookup = np.zeros(max([*values, int(label.max(initial=0))]) + 1, np.uint8)
    lookup[values] = np.arange(1, len(values) + 1)
    return lookup[label]
