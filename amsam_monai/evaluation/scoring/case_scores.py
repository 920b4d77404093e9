"""All scores of one case: one row per class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects

from amsam_monai.evaluation.scoring import overlap, surface
from amsam_monai.evaluation.scoring.protocols import NAN, Protocol, get_protocol
from amsam_monai.evaluation.scoring.score import Score, column_of
from amsam_monai.evaluation.scoring.sod import SOD_METRICS, structure_scores
from amsam_monai.keys import IGNORE_INDEX

OVERLAP_METRICS = {
    "dice": overlap.dice,
    "iou": overlap.iou,
    "sensitivity": overlap.sensitivity,
    "precision": overlap.precision,
}
METRICS = ("dice", "hd95", "assd", "nsd", "iou", "sensitivity", "precision")
HIGHER_IS_BETTER = {**dict.fromkeys((*OVERLAP_METRICS, "nsd", *SOD_METRICS), True), "hd95": False, "assd": False}

Result = tuple[str, dict[str, float]]  # outcome, value per column


def score_case(
    pred: np.ndarray,
    label: np.ndarray,
    labels: Mapping[int, str],
    *,
    case: str = "",
    protocol: Protocol | None = None,
    spacing_mm: Sequence[float] | None = None,
    tolerance: float = 2.0,
    sod: bool = False,
    probability: np.ndarray | None = None,
    on_grid: bool = False,
    metrics: Sequence[str] | None = None,
    workers: int | None = None,
) -> list[Score]:
    """Score a predicted label map.

    Args:
        pred: class indices.
        label: class indices; voxels of IGNORE_INDEX are not scored.
        labels: index to name, the classes to score.
        case: name of the case.
        protocol: strict by default.
        spacing_mm: size of a voxel along each axis; None where it is unknown.
        tolerance: of NSD, in millimetres where the spacing is known, in voxels otherwise.
        sod: add S, E and F measures (pictures only).
        probability: of the only class, for those; the predicted mask by default.
        on_grid: pred and label lie on the protocol's grid already (see `Protocol.from_logits`).
        metrics: those to compute, where not all that the protocol defines.
        workers: threads; all cores by default.

    Shape: pred and label (H, W) or (I, J, K).

    Raises:
        ValueError: shapes differ, or the protocol does not score such data.
    """
    protocol = protocol or get_protocol()
    wanted = tuple(name for name in metrics or METRICS if protocol.metrics is None or name in protocol.metrics)
    if pred.shape != label.shape:
        raise ValueError(f"prediction must have the label's shape {label.shape}, got {pred.shape}.")
    pred, label, spacing = _without_flat_axes(pred, label, spacing_mm if protocol.millimetres else None)
    _check_kind(protocol, label.ndim, labels)
    indices = list(labels)
    if protocol.label_grid is not None and not on_grid:
        if protocol.binary:
            pred, label, indices = pred == indices[0], label == indices[0], [1]
        pred, label = protocol.label_grid(pred, label)
    scene = _Scene(pred, label, protocol, spacing, tolerance, wanted, sod, probability)
    results = scene.score_all(indices, workers or available_cores())
    return [Score(case, name, *result) for name, result in zip(labels.values(), results, strict=True)]


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _without_flat_axes(
    pred: np.ndarray, label: np.ndarray, spacing: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...] | None]:
    """Drop axes of length 1, along which a surface has no sense."""
    axes = [axis for axis, length in enumerate(label.shape) if length > 1 or label.ndim <= 2]
    kept = tuple(label.shape[axis] for axis in axes)
    lengths = None if spacing is None else tuple(float(spacing[axis]) for axis in axes)
    return pred.reshape(kept), label.reshape(kept), lengths


def _check_kind(protocol: Protocol, dims: int, labels: Mapping[int, str]) -> None:
    if dims not in protocol.dims:
        kind = "pictures" if protocol.dims == (2,) else "pictures and volumes"
        raise ValueError(f"protocol {protocol.name} scores {kind}, got {dims} axes; choose another, such as strict.")
    if protocol.binary and len(labels) > 1:
        raise ValueError(f"protocol {protocol.name} scores one class, got {len(labels)}: {', '.join(labels.values())}.")


@dataclass(frozen=True)
class _Scene:
    """A case on its protocol's grid, scored class by class."""

    pred: np.ndarray
    label: np.ndarray
    protocol: Protocol
    spacing: tuple[float, ...] | None
    tolerance: float
    metrics: tuple[str, ...]
    sod: bool
    probability: np.ndarray | None

    def score_all(self, indices: list[int], workers: int) -> list[Result]:
        """Outcome and values of each class, the classes shared out among threads."""
        if self.sod:
            boxes = [tuple(slice(0, length) for length in self.label.shape)] * len(indices)
        else:
            found = [find_objects(_integers(array), max(indices)) for array in (self.pred, self.label)]
            boxes = [_union([each[index - 1] for each in found], self.label.ndim) for index in indices]
        if workers == 1 or len(indices) == 1:
            return [self.score(*job) for job in zip(indices, boxes, strict=True)]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(self.score, indices, boxes))

    def score(self, index: int, box: tuple[slice, ...]) -> Result:
        """Outcome and values of a class, looked at in a box that holds it."""
        pred, label = self.pred[box] == index, self.label[box] == index
        ignored = self.label[box] == IGNORE_INDEX
        pred, label = pred & ~ignored, label & ~ignored
        counts = overlap.count_overlap(pred, label)
        values = {name: self._without_surface(name, counts) for name in self.metrics}
        if None in values.values():
            distances = surface.surface_distances(pred, label, self.spacing)
            values.update(hd95=surface.hd95(distances), assd=surface.assd(distances))
            values.update(nsd=surface.nsd(distances, self.tolerance))
        unit = "vox" if self.spacing is None else "mm"
        named = {column_of(name, unit, self.tolerance): values[name] or 0.0 for name in self.metrics}
        if self.sod:
            named.update(self._structure(pred, label, counts.outcome))
        return counts.outcome, named

    def _without_surface(self, metric: str, counts: overlap.OverlapCounts) -> float | None:
        """A value that needs no surface; None for one that does."""
        if counts.outcome != "scored":
            return self.protocol.empty_value(counts.outcome, metric, self._diagonal())
        formula = OVERLAP_METRICS.get(metric)
        return formula(counts) if formula else None

    def _structure(self, pred: np.ndarray, label: np.ndarray, outcome: str) -> dict[str, float]:
        if outcome == "both_empty":
            return dict.fromkeys(SOD_METRICS, NAN)
        return structure_scores(pred if self.probability is None else self.probability, label)

    def _diagonal(self) -> float:
        lengths = np.ones(self.label.ndim) if self.spacing is None else np.array(self.spacing)
        return float(np.linalg.norm(np.array(self.label.shape) * lengths))


def _integers(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8) if array.dtype == bool else array


def _union(boxes: list[tuple[slice, ...] | None], dims: int) -> tuple[slice, ...]:
    there = [box for box in boxes if box is not None]
    if not there:
        return (slice(0, 0),) * dims
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*there, strict=True)
    )
