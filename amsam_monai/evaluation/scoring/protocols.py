"""What a score means: grid, unit and empty-mask conventions of each published evaluation, and a strict one of ours.

A protocol brings prediction and label to its grid (from label maps, or exactly from logits) and says what a class
scores that one of them lacks. Where published code differs from its paper, the code is followed: the numbers came
from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from amsam_monai.evaluation.scoring import grids

NAN = float("nan")
DIAGONAL = "diagonal"  # stands for the length of the image's diagonal, in the unit of the distances
Maps = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Protocol:
    """How a prediction is scored.

    Args:
        name: as on the command line.
        summary: one sentence for the report.
        metrics: the columns it defines; None is all.
        millimetres: whether distances take the spacing where it is known; voxels otherwise.
        empty: values per outcome ("missed", "false", "both_empty") and metric; a metric that is not listed has none.
        dims: numbers of axes it scores.
        binary: whether it knows foreground and background only.
        approximate: what a saved label map cannot reproduce; empty where it is exact.
        label_grid: brings label maps (masks, where `binary`) of prediction and label to the grid; None: native.
        logits_grid: brings (logits, label, presence) to class indices on the grid.
    """

    name: str
    summary: str
    metrics: tuple[str, ...] | None = None
    millimetres: bool = False
    empty: Mapping[str, Mapping[str, float | str]] = field(default_factory=dict)
    dims: tuple[int, ...] = (2, 3)
    binary: bool = False
    approximate: str = ""
    label_grid: Callable[[np.ndarray, np.ndarray], Maps] | None = None
    logits_grid: Callable[[Tensor, Tensor, Tensor | None], Maps] | None = None

    def empty_value(self, outcome: str, metric: str, diagonal: float) -> float:
        """The value of a metric where a mask is empty; NaN where there is none."""
        value = self.empty[outcome].get(metric, NAN)
        return diagonal if value == DIAGONAL else float(value)

    def from_logits(self, logits: Tensor, label: Tensor, presence: Tensor | None = None) -> Maps:
        """Class indices of prediction and label on the protocol's grid, as its authors' evaluator gets them.

        Args:
            logits: channel 0 is background; slices first.
            label: class indices of the slices at native size.
            presence: probability that a class is in the slice, background left out; AI-SAM gates by it.

        Shape: logits (D, K+1, h, w), label (D, H, W), presence (D, K) -> two arrays (H', W') for D = 1, or
            (H', W', D).

        Raises:
            ValueError: shapes do not fit, or the protocol knows neither several classes nor volumes.
        """
        depth, channels = logits.shape[0], logits.shape[1]
        if logits.ndim != 4 or label.ndim != 3 or label.shape[0] != depth:
            raise ValueError(
                f"logits must be (D, K+1, h, w) and label (D, H, W), got {tuple(logits.shape)}, {tuple(label.shape)}."
            )
        if self.binary and channels != 2:
            raise ValueError(f"protocol {self.name} knows one foreground class, got {channels - 1}.")
        if depth > 1 and 3 not in self.dims:
            raise ValueError(f"protocol {self.name} scores pictures one by one, got {depth} slices; call it per slice.")
        grid = self.logits_grid or _native_from_logits
        pred, target = grid(logits.detach().cpu().float(), label.detach().cpu(), presence)
        return (pred[..., 0], target[..., 0]) if depth == 1 else (pred, target)


def _volume(maps: Tensor) -> np.ndarray:
    return maps.permute(1, 2, 0).numpy()  # (D, H, W) -> (H, W, D)


def _native_from_logits(logits: Tensor, label: Tensor, presence: Tensor | None) -> Maps:
    return _volume(grids.resized_logits(logits, *label.shape[1:]).argmax(1)), _volume(label)


def _aisam_from_logits(logits: Tensor, label: Tensor, presence: Tensor | None) -> Maps:
    side = grids.AISAM_GRID
    probabilities = grids.resized_logits(logits, side, side).softmax(1)
    if presence is not None:
        gate = (presence.detach().cpu() > 0.5).to(probabilities)
        probabilities[:, 1:] *= gate[..., None, None]
    target = grids.sample_plane(_volume(label), _indices(label.shape[1:], grids.aisam_indices))
    return _volume(probabilities.argmax(1)), target


def _blosam_from_logits(logits: Tensor, label: Tensor, presence: Tensor | None) -> Maps:
    side = grids.BLOSAM_GRID
    target = grids.sample_plane(_volume(label), _indices(label.shape[1:], grids.blosam_indices))
    return _volume(grids.resized_logits(logits, side, side).argmax(1)), target


def _indices(shape: tuple[int, ...], rule: Callable[[int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return rule(shape[0]), rule(shape[1])


def _sampled(rule: Callable[[int], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], Maps]:
    def to_grid(pred: np.ndarray, label: np.ndarray) -> Maps:
        indices = _indices(label.shape, rule)
        return grids.sample_plane(pred, indices), grids.sample_plane(label, indices)

    return to_grid


def _autosam(side: int) -> Protocol:
    def from_labels(pred: np.ndarray, label: np.ndarray) -> Maps:
        maps = torch.from_numpy(np.ascontiguousarray(pred)), torch.from_numpy(np.ascontiguousarray(label))
        return grids.autosam_mask(maps[0], side).numpy(), grids.autosam_label(maps[1], side).numpy()

    def from_logits(logits: Tensor, label: Tensor, presence: Tensor | None) -> Maps:
        foreground = logits[0, 1] - logits[0, 0]
        pred = grids.autosam_probability(foreground, label.shape[1], label.shape[2], side) > 0.5
        return pred.long().numpy()[..., None], grids.autosam_label(label[0] == 1, side).numpy()[..., None]

    return Protocol(
        name="autosam",
        summary=f"AutoSAM's evaluation: {side} x {side} grid whatever the aspect, boundary pixels whose label the "
        "resampling left fractional are not counted, per image, an empty pair scores 0.",
        metrics=("dice", "iou"),
        empty={name: {"dice": 0.0, "iou": 0.0} for name in ("missed", "false", "both_empty")},
        dims=(2,),
        binary=True,
        approximate="the published code thresholds min-max scaled logits at the half of their range, on its own grid",
        label_grid=from_labels,
        logits_grid=from_logits,
    )


_MISSED_AT_THE_FULL_PRICE: Mapping[str, float | str] = {
    **dict.fromkeys(("dice", "iou", "nsd", "sensitivity", "precision"), 0.0),
    **dict.fromkeys(("hd95", "assd"), DIAGONAL),
}

_STRICT = Protocol(
    name="strict",
    summary="Native grid, millimetres where the spacing is known; a missed or a false organ scores 0 and the image's "
    "diagonal as distance; where both are empty there is no value.",
    millimetres=True,
    empty={"missed": _MISSED_AT_THE_FULL_PRICE, "false": _MISSED_AT_THE_FULL_PRICE, "both_empty": {}},
)

_TRANSUNET = Protocol(
    name="transunet",
    summary="TransUNet's and SAMed's evaluation: native grid, distances in voxels of size 1; Dice 1 and HD95 0 for an "
    "empty label that is predicted, 0 and 0 for a missed organ and for two empty masks.",
    metrics=("dice", "hd95"),
    empty={
        "missed": {"dice": 0.0, "hd95": 0.0},
        "false": {"dice": 1.0, "hd95": 0.0},
        "both_empty": {"dice": 0.0, "hd95": 0.0},
    },
)

_AISAM = Protocol(
    name="aisam",
    summary="AI-SAM's evaluation: 256 x 256 in the plane of the slices, distances in voxels of that grid; Dice 1 and "
    "HD95 0 for every empty label, 0 and 0 for a missed organ.",
    metrics=("dice", "hd95"),
    empty={
        "missed": {"dice": 0.0, "hd95": 0.0},
        "false": {"dice": 1.0, "hd95": 0.0},
        "both_empty": {"dice": 1.0, "hd95": 0.0},
    },
    approximate="the published code scores the decoder's 256 x 256 logits; here saved labels are sampled there",
    label_grid=_sampled(grids.aisam_indices),
    logits_grid=_aisam_from_logits,
)

_BLOSAM = Protocol(
    name="blosam",
    summary="BLO-SAM's evaluation: 64 x 64 grid, per image; a class that the label lacks scores 0.",
    metrics=("dice",),
    empty={name: {"dice": 0.0} for name in ("missed", "false", "both_empty")},
    dims=(2,),
    approximate="the published code scores the decoder's 64 x 64 logits; here saved labels are sampled there",
    label_grid=_sampled(grids.blosam_indices),
    logits_grid=_blosam_from_logits,
)

PROTOCOLS = ("strict", "transunet", "aisam", "autosam", "blosam")


def get_protocol(name: str = "strict", *, side: int | None = None) -> Protocol:
    """The protocol of that name.

    Args:
        name: one of PROTOCOLS.
        side: of AutoSAM's grid: 512 (the default of its code), 256 for GlaS and 352 for polyps in its best runs.

    Raises:
        ValueError: unknown name, or a side for a protocol that has none.
    """
    if side is not None and name != "autosam":
        raise ValueError(f"side belongs to protocol autosam, got it for {name}; leave it out.")
    fixed = {protocol.name: protocol for protocol in (_STRICT, _TRANSUNET, _AISAM, _BLOSAM)}
    if name in fixed:
        return fixed[name]
    if name == "autosam":
        return _autosam(side or 512)
    raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}.")
