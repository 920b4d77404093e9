"""Slices of images and their labels, for confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amsam_monai.data.files.images import read_image
from amsam_monai.data.slices import SliceView
from amsam_monai.evaluation.pairs import LoadedPair, Pair, images_by_case, labels_by_case, load_pair
from amsam_monai.evaluation.pictures import renumbered
from amsam_monai.transforms.intensity import Intensity


def image_pairs(images: str | Path, labels: str | Path) -> list[Pair]:
    """Images (as `pred`) and labels by case; those of one folder are told apart by the labels' endings.

    Raises:
        FileNotFoundError: a folder or file is not there.
        ValueError: no label has an image.
    """
    found = images_by_case(images)
    pairs = [Pair(case, found[case], label) for case, label in labels_by_case(labels).items() if case in found]
    pairs = [pair for pair in pairs if pair.pred != pair.label]
    if not pairs:
        raise ValueError(f"{images} and {labels} must share cases, got none; compare their file names.")
    return sorted(pairs, key=lambda pair: pair.case)


def labelled_slices(
    pairs: Sequence[Pair],
    labels: Mapping[int, str],
    *,
    intensity: Intensity | None = None,
    per_case: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Slices with a labelled voxel, image and class indices 0 to K in the order of the table.

    Args:
        pairs: image (as `pred`) and label of each case.
        labels: index to name.
        intensity: percentiles of the volume by default; pictures of bytes are divided by 255.
        per_case: at most so many, evenly through the volume; all by default.

    Shape: yields (1, 3, H, W) in [0, 1] and (H, W).

    Raises:
        ValueError: a label that does not fit its image or the table.
    """
    for pair in pairs:
        loaded = load_pair(Pair(pair.case, pair.label, pair.label), labels)
        yield from _slices(pair, loaded, labels, intensity, per_case)


def _slices(
    pair: Pair, loaded: LoadedPair, labels: Mapping[int, str], intensity: Intensity | None, per_case: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    image = read_image(pair.pred)
    if image.spatial_shape != loaded.label.shape:
        problem = f"{pair.label}: label must have the shape of {pair.pred}, {image.spatial_shape}"
        raise ValueError(f"{problem}, got {loaded.label.shape}.")
    picture = image.kind == "image"
    scale = intensity or Intensity("bit_depth" if picture and image.array.dtype == np.uint8 else "percentile")
    values, index = scale(image.array), renumbered(loaded.label, list(labels))
    if picture:
        colour = values.movedim(-1, 0) if values.ndim == 3 else values[None]
        yield colour.expand(3, -1, -1)[None], torch.from_numpy(index)
        return
    view = SliceView.of(loaded.label.shape, image.affine if image.spacing_mm else None)
    stack = view.see(index)
    filled = [place for place in range(len(stack)) if ((stack[place] > 0) & (stack[place] != 255)).any()]
    for place in _spread(filled, per_case):
        plane = view.take(values[None], place, place + 1)  # (1, 1, H, W)
        yield plane.expand(-1, 3, -1, -1), torch.from_numpy(np.ascontiguousarray(stack[place]))


def _spread(places: list[int], count: int | None) -> list[int]:
    if count is None or count >= len(places):
        return places
    return [places[int((step + 0.5) * len(places) / count)] for step in range(count)]
