"""The same scores as MONAI metrics and Ignite handlers, so that bundles print what `amsam evaluate` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from amsam_monai.data.files.loaded_image import spacing_of
from amsam_monai.evaluation.scoring.case_scores import METRICS, score_case
from amsam_monai.evaluation.scoring.protocols import get_protocol
from amsam_monai.evaluation.scoring.score import Score, metric_of
from amsam_monai.keys import LABEL, PRED


class VolumeScores(CumulativeIterationMetric):
    """One metric per class and case, averaged as the reports average it: over cases, then over classes.

    A class that no case has a value for is left out of the mean; with none left the result is NaN. Spacing comes from
    the label's meta data (a MetaTensor of `LoadFiled` or MONAI's LoadImage), an identity affine being unknown.

    Args:
        num_classes: K, foreground classes; class indices 1 to K.
        metric: one of `case_scores.METRICS`.
        protocol: see `get_protocol`.
        tolerance: of NSD.
        logits: y_pred are logits, which the published protocols then score exactly, on their own grids.
        per_class: aggregate to K values instead of their mean.

    Shape: y_pred (B, 1, ...) class indices, or (B, K+1, ...) logits, probabilities or one-hot; y likewise; lists of
        such without B. Buffer (B, K).

    Raises:
        ValueError: unknown metric, or one that the protocol does not define.
    """

    def __init__(
        self,
        num_classes: int,
        metric: str = "dice",
        protocol: str = "strict",
        *,
        tolerance: float = 2.0,
        logits: bool = False,
        per_class: bool = False,
    ) -> None:
        super().__init__()
        self.protocol = get_protocol(protocol)
        defined = self.protocol.metrics or METRICS
        if metric not in defined:
            raise ValueError(f"metric must be one of {', '.join(defined)} for protocol {protocol}, got {metric!r}.")
        self.labels = {index: str(index) for index in range(1, num_classes + 1)}
        self.metric = metric
        self.tolerance = tolerance
        self.logits = logits
        self.per_class = per_class

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:  # type: ignore[override]
        if y is None:
            raise ValueError("scores need labels y, got None.")
        rows = [self._row(score_tensors(pred, label, **self._options())) for pred, label in zip(y_pred, y, strict=True)]
        return torch.tensor(rows, dtype=torch.float64, device=y_pred.device)

    def _options(self) -> dict[str, Any]:
        return {
            "labels": self.labels,
            "protocol": self.protocol,
            "tolerance": self.tolerance,
            "metrics": (self.metric,),
            "logits": self.logits,
        }

    def _row(self, scores: Sequence[Score]) -> list[float]:
        return [
            next(value for column, value in score.values.items() if metric_of(column) == self.metric)
            for score in scores
        ]

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """Mean of the classes' means, or the K of them."""
        values = self.get_buffer()
        if not isinstance(values, Tensor):
            raise ValueError("there must be a scored case before the aggregate, got none.")
        means = values.nanmean(dim=0)  # (K,)
        return means if self.per_class else means.nanmean()


class StrictDice(VolumeScores):
    """Dice per class by protocol strict: a missed or false organ scores 0, two empty masks have no value.

    Args:
        num_classes: K, foreground classes.
        per_class: aggregate to K values instead of their mean.

    Shape: as VolumeScores.
    """

    def __init__(self, num_classes: int, *, per_class: bool = False) -> None:
        super().__init__(num_classes, "dice", per_class=per_class)


class VolumeScoresHandler(IgniteMetricHandler):
    """An Ignite metric of VolumeScores, for `key_val_metric` and `additional_metrics`.

    Args:
        num_classes: K, foreground classes.
        metric: one of `case_scores.METRICS`.
        protocol: see `get_protocol`.
        output_transform: gives (y_pred, y) of the engine's output; `pred` and `label` by default.
        save_details: keep the values of every case in `engine.state.metric_details`.
        options: further arguments of VolumeScores.
    """

    def __init__(
        self,
        num_classes: int,
        metric: str = "dice",
        protocol: str = "strict",
        *,
        output_transform: Callable[[Any], Any] | None = None,
        save_details: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            metric_fn=VolumeScores(num_classes, metric, protocol, **options),
            output_transform=output_transform or from_engine([PRED, LABEL]),
            save_details=save_details,
        )


class StrictDiceHandler(VolumeScoresHandler):
    """Mean strict Dice as an Ignite metric.

    Args:
        num_classes: K, foreground classes.
        output_transform: gives (y_pred, y) of the engine's output; `pred` and `label` by default.
        save_details: keep the values of every case in `engine.state.metric_details`.
    """

    def __init__(
        self, num_classes: int, *, output_transform: Callable[[Any], Any] | None = None, save_details: bool = True
    ) -> None:
        super().__init__(num_classes, output_transform=output_transform, save_details=save_details)


def score_tensors(pred: Tensor, label: Tensor, *, logits: bool = False, **options: Any) -> list[Score]:
    """`score_case` of tensors with a channel first; spacing from the label's meta data.

    Args:
        pred: class indices, or one channel per class.
        label: likewise.
        logits: bring `pred` to the protocol's grid as logits.
        options: of `score_case`, labels and protocol among them.

    Shape: (1 or K+1, H, W[, D]).
    """
    classes = len(options["labels"])
    target = class_indices(label, classes)
    spacing = spacing_of_tensor(label)
    if not logits:
        maps = (class_indices(pred, classes).cpu().numpy(), target.cpu().numpy())
        return score_case(*maps, spacing_mm=spacing, workers=1, **options)
    slices = pred[None] if pred.ndim == 3 else pred.movedim(-1, 0)  # (D, K+1, h, w)
    targets = target[None] if target.ndim == 2 else target.movedim(-1, 0)  # (D, H, W)
    maps = options["protocol"].from_logits(torch.as_tensor(slices), torch.as_tensor(targets))
    return score_case(*maps, spacing_mm=spacing, workers=1, on_grid=True, **options)


def class_indices(maps: Tensor, num_classes: int) -> Tensor:
    """Class indices of a map with a channel first: itself, or the argmax of K+1 channels.

    Shape: (1 or K+1, ...) -> (...).

    Raises:
        ValueError: another number of channels, or one channel that does not hold whole numbers.
    """
    plain = maps.as_tensor() if hasattr(maps, "as_tensor") else maps
    if plain.shape[0] == num_classes + 1:
        return plain.argmax(0)
    if plain.shape[0] != 1:
        raise ValueError(f"maps must have 1 channel or {num_classes + 1}, one per class, got {plain.shape[0]}.")
    if plain.is_floating_point() and bool((plain != plain.round()).any()):
        raise ValueError("a map of one channel must hold class indices, got fractions; take the argmax first.")
    return plain[0].long()


def spacing_of_tensor(label: Tensor) -> tuple[float, ...] | None:
    """Voxel size along the spatial axes of a MetaTensor; None for a plain tensor, or where it is unknown."""
    meta = getattr(label, "meta", None)
    affine = getattr(label, "affine", None)
    if meta is None or affine is None:
        return None
    matrix = np.asarray(affine, dtype=np.float64)
    if meta.get("spacing_mm") is not None:  # known to LoadFiled, and since then maybe resampled to 1 mm
        spacing: tuple[float, ...] | None = tuple(np.linalg.norm(matrix[:3, :3], axis=0).tolist())
    else:
        spacing = spacing_of(matrix)
    return None if spacing is None else spacing[: label.ndim - 1]
