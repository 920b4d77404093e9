"""Pictures of a report: the worst slice of a case, and box plots, as data that a page carries in itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
import torch

from amsam_monai.data.files import LoadedImage, read_image
from amsam_monai.evaluation.case_scores import Score
from amsam_monai.evaluation.pairs import LoadedPair
from amsam_monai.keys import IGNORE_INDEX

SIDE = 384


def worst_overlay(loaded: LoadedPair, labels: Mapping[int, str]) -> str:
    """The slice with the most wrong voxels: prediction filled, label outlined in white. A data URI."""
    from amsam_monai.handlers.overlays import draw_overlay

    image = _image_of(loaded)
    orient = image.affine if image is not None and loaded.spacing_mm is not None else None
    place = worst_slice(loaded.pred, loaded.label)
    pred, label = (_plane(array, place, orient) for array in (loaded.pred, loaded.label))
    grey = _grey(image.array, place, orient) if image is not None else np.zeros((1, *label.shape), np.float32)
    known = list(labels)
    maps = [torch.from_numpy(_renumbered(array, known)[None]) for array in (pred, label)]
    picture = draw_overlay(torch.from_numpy(grey), label=maps[1], pred=maps[0], side=SIDE)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return data_uri(buffer.getvalue(), "image/jpeg")


def worst_slice(pred: np.ndarray, label: np.ndarray) -> int | None:
    """Index along the last axis of the slice with the most wrong voxels; None for a picture."""
    if label.ndim == 2:
        return None
    wrong = (pred != label) & (label != IGNORE_INDEX)
    counts = wrong.sum(axis=(0, 1))
    return int(counts.argmax()) if counts.any() else int((label > 0).sum(axis=(0, 1)).argmax())


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


def _plane(array: np.ndarray, place: int | None, affine: np.ndarray | None) -> np.ndarray:
    """A slice as people look at it: head or front up, the patient's right on the left, as far as the affine tells."""
    if place is None:
        return array
    plane = array[:, :, place]
    if affine is None:
        return np.ascontiguousarray(plane.T)
    from nibabel.orientations import aff2axcodes

    first, second = aff2axcodes(affine)[:2]
    if first in "SI" or (first in "AP" and second in "RL"):
        rows, columns = first, second
    else:
        plane, rows, columns = plane.T, second, first
    plane = plane[::-1] if rows in "AS" else plane
    return np.ascontiguousarray(plane[:, ::-1] if columns in "RA" else plane)


def _grey(array: np.ndarray, place: int | None, affine: np.ndarray | None) -> np.ndarray:
    """Pixels in [0, 1], channels first; scaled from the 1st to the 99.5th percentile unless they are bytes."""
    plane = _plane(array, place, affine).astype(np.float32)
    if array.dtype == np.uint8:
        plane /= 255.0
    else:
        low, high = np.percentile(plane, [1, 99.5])
        plane = np.clip((plane - low) / max(high - low, 1e-6), 0, 1)
    return np.moveaxis(plane, -1, 0).copy() if plane.ndim == 3 else plane[None]


def _renumbered(plane: np.ndarray, known: list[int]) -> np.ndarray:
    """Indices 1, 2, ... in the order of the table, so that colours are those of the classes listed."""
    result = np.zeros(plane.shape, np.int64)
    for place, index in enumerate(known, start=1):
        result[plane == index] = place
    return result
