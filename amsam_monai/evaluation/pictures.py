"""Pictures of a report: the worst slice of a case, and box plots, as data that a page carries in itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
import torch

from amsam_monai.data.files.images import LoadedImage, read_image
from amsam_monai.data.slices import SliceView
from amsam_monai.evaluation.pairs import LoadedPair
from amsam_monai.evaluation.scoring.score import Score
from amsam_monai.keys import IGNORE_INDEX

SIDE = 384


def worst_overlay(loaded: LoadedPair, labels: Mapping[int, str]) -> str:
    """The slice with the most wrong voxels: prediction filled, label outlined in white. A data URI."""
    from amsam_monai.handlers.overlays import draw_overlay

    image = _image_of(loaded)
    if loaded.label.ndim == 3:
        affine = image.affine if image is not None and loaded.spacing_mm is not None else None
        view = SliceView.of(loaded.label.shape, affine)
        pred, label = view.see(loaded.pred), view.see(loaded.label)
        place = worst_slice(pred, label)
        pred, label = pred[place], label[place]
        grey = None if image is None else _scaled(view.see(image.array)[place])
    else:
        pred, label = loaded.pred, loaded.label
        grey = None if image is None else _scaled(image.array)
    known = list(labels)
    maps = [torch.from_numpy(renumbered(array, known)[None]) for array in (pred, label)]
    canvas = torch.zeros(1, *label.shape) if grey is None else torch.from_numpy(grey)
    picture = draw_overlay(canvas, label=maps[1], pred=maps[0], side=SIDE)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return data_uri(buffer.getvalue(), "image/jpeg")


def worst_slice(pred: np.ndarray, label: np.ndarray) -> int:
    """Number of the slice with the most wrong voxels, or, where none is wrong, the most labelled ones.

    Shape: pred and label (D, H, W).
    """
    wrong = ((pred != label) & (label != IGNORE_INDEX)).sum(axis=(1, 2))
    return int(wrong.argmax()) if wrong.any() else int((label > 0).sum(axis=(1, 2)).argmax())


def renumbered(indices: np.ndarray, known: list[int]) -> np.ndarray:
    """Indices 1, 2, ... in the order of the table; IGNORE_INDEX stays, everything else is 0."""
    result = np.where(indices == IGNORE_INDEX, IGNORE_INDEX, 0).astype(np.int64)
    for place, index in enumerate(known, start=1):
        result[indices == index] = place
    return result


def box_plot(scores: list[Score], column: str, names: list[str]) -> str:
    """Boxes of a column, one per class, with every case as a dot. A data URI."""
    from matplotlib.figure import Figure

    values = [_values(scores, name, column) for name in names]
    figure = Figure(figsize=(1.6 + 0.8 * len(names), 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.boxplot([column or [float("nan")] for column in values], showfliers=False, medianprops={"color": "black"})
    rng = np.random.default_rng(0)
    for place, dots in enumerate(values, start=1):
        axes.plot(place + rng.uniform(-0.12, 0.12, len(dots)), dots, ".", color="#0072B2", alpha=0.5, markersize=4)
    axes.set_xticks(range(1, len(names) + 1), names, rotation=30 if len(names) > 4 else 0)
    axes.set_title(column)
    axes.grid(axis="y", alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return data_uri(buffer.getvalue(), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _image_of(loaded: LoadedPair) -> LoadedImage | None:
    if loaded.pair.image is None:
        return None
    image = read_image(loaded.pair.image)
    return image if image.spatial_shape == loaded.label.shape else None


def _values(scores: list[Score], name: str, column: str) -> list[float]:
    found = [score.values.get(column, float("nan")) for score in scores if score.label == name]
    return [value for value in found if not np.isnan(value)]


def _scaled(plane: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1], channels first; scaled from the 1st to the 99.5th percentile unless they are bytes."""
    values = plane.astype(np.float32)
    if plane.dtype == np.uint8:
        values /= 255.0
    else:
        low, high = np.percentile(values, [1, 99.5])
        values = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return np.moveaxis(values, -1, 0).copy() if values.ndim == 3 else np.ascontiguousarray(values)[None]
