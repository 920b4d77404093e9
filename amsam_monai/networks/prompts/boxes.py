"""Boxes from label maps, and boxes made as imperfect as a detector's. All boxes are edges x1, y1, x2, y2 in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from amsam_monai.keys import IGNORE_INDEX


def class_boxes(label: Tensor, num_classes: int) -> Tensor:
    """The tight box of each foreground class; NaN where a class is absent.

    Args:
        label: class indices, 0 background; IGNORE_INDEX belongs to no class.
        num_classes: K, foreground classes.

    Shape: label (B, 1, H, W) -> boxes (B, K, 4).

    Raises:
        ValueError: label of another shape.
    """
    if label.ndim != 4 or label.shape[1] != 1:
        raise ValueError(f"label must have shape (B, 1, H, W), got {tuple(label.shape)}.")
    mask = label == torch.arange(1, num_classes + 1, device=label.device).reshape(1, -1, 1, 1)  # (B, K, H, W)
    flags = mask.view(torch.uint8)  # whose amax is many times faster than any of a mask
    x1, x2 = _extent(flags.amax(dim=2))
    y1, y2 = _extent(flags.amax(dim=3))
    return torch.stack([x1, y1, x2, y2], dim=-1)


def _extent(flags: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last position that is 1, of (..., N) of 0 and 1; NaN where there is none."""
    first = flags.argmax(dim=-1).float()
    last = flags.shape[-1] - flags.flip(-1).argmax(dim=-1).float()
    empty = flags.amax(dim=-1) == 0
    return first.masked_fill(empty, torch.nan), last.masked_fill(empty, torch.nan)


def instances_of(
    label: np.ndarray, num_classes: int, *, per: str | Sequence[str] = "class", min_pixels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Number the objects of a label map, one per class or one per connected component (8 neighbours).

    Args:
        label: class indices; IGNORE_INDEX and other values above `num_classes` belong to no object.
        num_classes: K, foreground classes.
        per: "class" or "component", or a word for each class.
        min_pixels: smaller objects are left out.

    Shape: label (H, W) -> map (H, W) of 0 (nothing) and 1..N, classes (N,) in 1..K.

    Raises:
        ValueError: unknown `per`, or a label of another shape.
    """
    words = [per] * num_classes if isinstance(per, str) else list(per)
    if len(words) != num_classes or not set(words) <= {"class", "component"}:
        raise ValueError(f"per must be 'class' or 'component', or one of them for each class, got {per!r}.")
    if label.ndim != 2:
        raise ValueError(f"label must have shape (H, W), got {label.shape}.")
    numbered = np.zeros(label.shape, np.int16)
    classes: list[int] = []
    for k in range(1, num_classes + 1):
        if k == IGNORE_INDEX:
            continue
        mask = label == k
        parts = ndimage.label(mask, np.ones((3, 3)))[0] if words[k - 1] == "component" else mask.astype(np.int32)
        sizes = np.bincount(parts.ravel())[1:]
        for part in np.flatnonzero(sizes >= max(1, min_pixels)) + 1:
            classes.append(k)
            numbered[parts == part] = len(classes)
    return numbered, np.asarray(classes, np.int64)


def instance_boxes(numbered: np.ndarray, count: int) -> np.ndarray:
    """The tight box of each object 1..count of a numbered map (H, W) -> (count, 4); NaN where it is not there."""
    boxes = np.full((count, 4), np.nan, np.float32)
    for index, found in enumerate(ndimage.find_objects(numbered, max_label=count)):
        if found is not None:
            rows, columns = found
            boxes[index] = columns.start, rows.start, columns.stop, rows.stop
    return boxes


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes, pair by pair; 0 where one of the two is absent.

    Shape: a (..., 4), b (..., 4), broadcast -> (...).
    """
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    intersection = (high - low).clamp(min=0).prod(dim=-1)
    union = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1) - intersection
    return torch.nan_to_num(intersection / union.clamp(min=1e-9), nan=0.0)


def jitter_boxes(
    boxes: Tensor,
    generator: torch.Generator | None = None,
    *,
    scale: float = 0.1,
    p_drop: float = 0.0,
    p_wild: float = 0.0,
    wild: float = 4.0,
) -> Tensor:
    """Boxes as imperfect as a detector's: each edge moves by a normal share of the side, and some boxes are missing.

    A segmenter that trains with perfect boxes trusts them too much. `match_jitter` gives the settings that imitate a
    detector: most of its boxes are a little off, a few are wrong altogether.

    Args:
        boxes: true boxes; NaN stays NaN.
        generator: source of randomness.
        scale: standard deviation of an edge's shift, as a share of the box's width or height.
        p_drop: share of boxes that become NaN, so that the answer without a box is learned too.
        p_wild: share of boxes whose edges move `wild` times as far.
        wild: see `p_wild`.

    Shape: boxes (..., 4) -> (..., 4).

    Raises:
        ValueError: scale below 0, or a share outside [0, 1].
    """
    if scale < 0 or not 0 <= p_drop <= 1 or not 0 <= p_wild <= 1:
        raise ValueError(f"scale must be at least 0, p_drop and p_wild in [0, 1], got {scale}, {p_drop} and {p_wild}.")
    noise = torch.randn(boxes.shape, generator=generator).to(boxes)
    draw = torch.rand((2, *boxes.shape[:-1], 1), generator=generator).to(boxes.device)
    reach = torch.where(draw[1] < p_wild, scale * wild, scale).to(boxes)
    sides = boxes[..., 2:] - boxes[..., :2]
    first, second = (boxes + reach * torch.cat([sides, sides], dim=-1) * noise).chunk(2, dim=-1)
    ordered = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)
    return ordered.masked_fill(draw[0] < p_drop, torch.nan)


def match_jitter(overlaps: Tensor, *, wrong: float = 0.4) -> dict[str, float]:
    """Settings of `jitter_boxes` that imitate a detector.

    Args:
        overlaps: of its boxes with the true ones, on images that it was not trained on; 0 where it gave none.
        wrong: overlap below which a box counts as wrong, not as inexact.

    Shape: overlaps (N,) -> "scale", "p_drop", "p_wild".

    Raises:
        ValueError: no overlaps.
    """
    if overlaps.numel() == 0:
        raise ValueError("overlaps must hold at least one value, got none; measure the detector on labelled images.")
    close = overlaps[overlaps >= wrong]
    return {
        "scale": scale_for_iou(float(close.mean())) if len(close) else scale_for_iou(wrong),
        "p_drop": float((overlaps == 0).float().mean()),
        "p_wild": float(((overlaps > 0) & (overlaps < wrong)).float().mean()),
    }


def scale_for_iou(mean_iou: float, *, samples: int = 4096) -> float:
    """The `jitter_boxes` scale at which the jittered boxes overlap the true ones by `mean_iou` on average.

    Raises:
        ValueError: mean_iou outside (0, 1].
    """
    if not 0 < mean_iou <= 1:
        raise ValueError(f"mean_iou must lie in (0, 1], got {mean_iou}.")
    box = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(samples, 4)
    low, high = 0.0, 1.0
    for _ in range(20):  # the overlap falls as the scale grows: bisect
        middle = (low + high) / 2
        jittered = jitter_boxes(box, torch.Generator().manual_seed(0), scale=middle)
        low, high = (middle, high) if box_iou(jittered, box).mean() > mean_iou else (low, middle)
    return (low + high) / 2
