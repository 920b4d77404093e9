"""The readers as a MONAI transform, so that a bundle reads every format that `amsam segment` reads."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple
from torch import Tensor

from amsam_monai.data.files.images import LoadedImage, list_inputs, read_image, read_label
from amsam_monai.data.files.loaded_image import channels_first, picture_values
from amsam_monai.keys import IMAGE, LABEL


class LoadFiled(MapTransform):
    """Read files into tensors with a channel first: pictures as (C, H, W), rows first; volumes as (1, I, J, K).

    Unlike MONAI's LoadImaged, rows stay rows in pictures, a palette gives its colours (its indices in a label), and
    a damaged file is named. Pictures of 10 to 16 bits come on the scale of 8-bit ones. The tensors carry `affine` and
    `filename_or_obj`, as MONAI's do.

    Args:
        keys: entries that hold paths.
        label_keys: those of them that are label maps and stay integer; `label` by default.
        allow_missing_keys: pass over keys that a sample lacks.
        labels: class indices to names, for label files that name their classes (.seg.nrrd, DICOM-SEG).

    Raises:
        ImageFileError, FileNotFoundError: as `read_image` and `read_label`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = (LABEL,),
        allow_missing_keys: bool = False,
        *,
        labels: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.labels = None if labels is None else {int(index): name for index, name in labels.items()}
        self.label_keys: Sequence[Hashable] = ensure_tuple(label_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with its paths replaced by tensors."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            is_label = key in self.label_keys
            loaded = read_label(sample[key], labels=self.labels) if is_label else read_image(sample[key])
            sample[key] = as_tensor(loaded, torch.int64 if is_label else torch.float32)
        return sample


def image_samples(folder: str | Path) -> list[dict[str, str]]:
    """A datalist of all images below a folder: {"image": path}, sorted.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    samples = [{str(IMAGE): str(path)} for path in list_inputs(folder)]
    if not samples:
        raise FileNotFoundError(f"{folder}: must hold images, got none that can be read.")
    return samples


def as_tensor(loaded: LoadedImage, dtype: torch.dtype) -> MetaTensor:
    """A loaded image as MONAI's tensor: channel first, with affine and file name.

    Shape: (H, W) -> (1, H, W), (H, W, 3) -> (3, H, W), (I, J, K) -> (1, I, J, K).
    """
    array = picture_values(loaded) if dtype.is_floating_point and loaded.kind == "image" else channels_first(loaded)
    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
    affine = np.eye(4) if loaded.affine is None else loaded.affine
    meta: dict[str, Any] = {
        "filename_or_obj": str(loaded.path),
        "original_affine": affine,
        "spatial_shape": np.array(loaded.spatial_shape),
        "original_channel_dim": 0,
    }
    if loaded.spacing_mm is not None:  # a batch cannot hold None
        meta["spacing_mm"] = loaded.spacing_mm
    return MetaTensor(tensor, affine=torch.from_numpy(affine), meta=meta)


def picture_tensor(loaded: LoadedImage) -> Tensor:
    """A picture as every door reads it: channel first, float32, 16 bits on the scale of 8. Shape (C, H, W)."""
    return as_tensor(loaded, torch.float32).as_tensor()
