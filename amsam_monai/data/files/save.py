"""The label writer as a MONAI transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform

from amsam_monai.data.classes import Classes
from amsam_monai.data.files.images import list_inputs, read_image, stem_of
from amsam_monai.data.files.names import result_stems
from amsam_monai.data.files.writers import label_suffix, write_label
from amsam_monai.keys import IMAGE, PRED


class SaveLabeld(Transform):
    """Write a predicted label map in the geometry of the image that it was made of, as `amsam segment` does.

    Args:
        folder: where to write; the name of the image with the ending that fits it.
        root: folder that the images come from: its subfolders are kept, and images of one name (a.png, a.jpg) get
            their endings into the names of their maps.
        classes: what stands for the classes in the maps, and their names; class indices by default.

    Shape: pred (1, H, W) or (1, I, J, K), class indices.
    """

    def __init__(self, folder: str | Path, *, root: str | Path | None = None, classes: Classes | None = None) -> None:
        self.folder, self.classes = Path(folder), classes
        self.root = None if root is None else Path(root).resolve()
        self._stems: dict[Path, Path] | None = None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample, with the file written."""
        source = read_image(data[IMAGE].meta["filename_or_obj"])
        target = self.folder / self._stem(source.path)
        target = target.with_name(target.name + label_suffix(source))
        target.parent.mkdir(parents=True, exist_ok=True)
        label = torch.as_tensor(data[PRED])[0].cpu().numpy()
        if self.classes is None:
            write_label(target, label, source)
        else:
            write_label(target, self.classes.written(label), source, self.classes.written_names)
        return dict(data)

    def _stem(self, path: Path) -> Path:
        """Where the map of an image goes, relative to `folder` and without its ending."""
        if self._stems is None:
            self._stems = {} if self.root is None else result_stems(list_inputs(self.root), self.root)
        return self._stems.get(path.absolute()) or self._stems.get(path.resolve()) or Path(stem_of(path))
