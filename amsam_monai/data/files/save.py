"""The label writer as a MONAI transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform

from amsam_monai.data.files.images import read_image, stem_of
from amsam_monai.data.files.writers import label_suffix, write_label
from amsam_monai.keys import IMAGE, PRED


class SaveLabeld(Transform):
    """Write a predicted label map in the geometry of the image that it was made of, one file a case.

    Args:
        folder: where to write; `<name of the image><postfix>` with the ending that fits the image.
        postfix: put behind the image's name.

    Shape: pred (1, H, W) or (1, I, J, K), class indices.
    """

    def __init__(self, folder: str | Path, *, postfix: str = "_seg") -> None:
        self.folder = Path(folder)
        self.postfix = postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample, with the file written."""
        source = read_image(data[IMAGE].meta["filename_or_obj"])
        target = self.folder / f"{stem_of(source.path)}{self.postfix}{label_suffix(source)}"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_label(target, torch.as_tensor(data[PRED])[0].cpu().numpy(), source)
        return dict(data)
