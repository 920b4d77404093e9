"""What is usual for each class and for the image, as the training cases had it, and what goes beyond.

The block `limits` of settings:

    cases: 10                       # that were measured
    classes:
      myocardium:
        slice_share: 0.14           # of a slice, at most
        volume_share: [0.001, 0.05] # of a volume in which it is, at least and at most
        parts: 4                    # of some size, at most
        gap: 0.1                    # to the next part, at most, as a share of the image
    intensity: {low: [[...]], high: [[...]]}  # quantiles of the image as the network sees it, for each channel

Limits lie beyond what was measured, the farther the fewer the cases. Of other patients' true masks, which are normal,
1 % of ACDC's and of the hippocampus task's volumes have a warning after 5 and 8 training patients, 5 % or fewer of
pictures of glands, polyps, lesions and vessels after 8, and 9 % of abdomens with eight organs after 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from amsam_monai.data.files.loaded_image import LoadedImage
from amsam_monai.segment.parts import parts_of, widest_gap
from amsam_monai.segment.shades import QUANTILES, shades
from amsam_monai.segment.slice_inferer import SliceInferer
from amsam_monai.transforms.intensity import Intensity

if TYPE_CHECKING:
    from amsam_monai.segment.segmenter import SegmentedImage

LEAST_GAP = 0.1  # of the image's side
LEAST_SHADE = 0.1  # of the way from black to white


@dataclass(frozen=True)
class Extent:
    """What a class covers.

    Args:
        slice_share: largest share of a slice.
        place: the slice where it is largest, as the view counts.
        volume_share: of all voxels.
        parts: how many of some size.
        gap: see `widest_gap`.
    """

    slice_share: float
    place: int
    volume_share: float
    parts: int
    gap: float


def extents(label: np.ndarray) -> dict[int, Extent]:
    """What each class covers; classes without a voxel are left out.

    Shape: label (D, H, W), class indices, slices first.
    """
    boxes = ndimage.find_objects(label)
    found = {}
    side = max(label.shape[1:])
    for index, box in enumerate(boxes, start=1):
        if box is None:
            continue
        mask = np.ascontiguousarray(label[box] == index)
        counts = np.count_nonzero(mask, axis=(1, 2))
        shares = counts / (label.shape[1] * label.shape[2])
        parts = parts_of(mask)
        gap = widest_gap(parts, (len(label), side, side))
        place = box[0].start + int(counts.argmax())
        found[index] = Extent(float(shares.max()), place, float(counts.sum() / label.size), len(parts), gap)
    return found


def measure_limits(
    cases: Iterable[tuple[LoadedImage, np.ndarray]],
    labels: Mapping[int, str],
    *,
    intensity: Intensity | Mapping[str, Any] | None = None,
    slices: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The block `limits` of settings from labelled cases, one of which is in memory at a time.

    Args:
        cases: image and label map with class indices in the image's shape.
        labels: name of every class index above 0.
        intensity: the settings'.
        slices: the settings'.

    Raises:
        ValueError: no case, or a label of another shape than its image.
    """
    scale = intensity if isinstance(intensity, Intensity) else Intensity(**(intensity or {}))
    inferer = SliceInferer(**(slices or {}))
    seen: dict[int, list[Extent]] = {}
    bright: list[np.ndarray] = []
    for image, label in cases:
        if label.shape != image.spatial_shape:
            raise ValueError(f"{image.path}: label must have the shape {image.spatial_shape}, got {label.shape}.")
        view = inferer.view(image.array.shape, image.affine) if image.kind == "volume" else None
        for index, extent in extents(label[None] if view is None else view.see(label)).items():
            seen.setdefault(index, []).append(extent)
        bright.append(shades(image, scale, view))
    if not bright:
        raise ValueError("cases must hold at least one labelled case, got none.")
    return {
        "cases": len(bright),
        "classes": {name: beyond(seen[index]) for index, name in labels.items() if index in seen},
        "intensity": beyond_shades(bright),
    }


def beyond(seen: list[Extent]) -> dict[str, Any]:
    """Limits of a class beyond what was seen of it."""
    wide, wider = 1.5 + 10 / len(seen), 2 + 16 / len(seen)
    volumes = [one.volume_share for one in seen]
    return {
        "slice_share": rounded(min(1.0, wide * max(one.slice_share for one in seen))),
        "volume_share": [rounded(min(volumes) / wider), rounded(min(1.0, wide * max(volumes)))],
        "parts": 2 * max(one.parts for one in seen) + 2,
        "gap": rounded(2 * max(one.gap for one in seen) + LEAST_GAP),
    }


def beyond_shades(bright: list[np.ndarray]) -> dict[str, Any]:
    """Limits of an image's quantiles beyond what was seen. Shape: (C, 5) each, grey images count as coloured ones."""
    channels = max(len(one) for one in bright)
    stack = np.stack([np.broadcast_to(one, (channels, len(QUANTILES))) for one in bright])
    low, high = stack.min(0), stack.max(0)
    margin = high - low + LEAST_SHADE
    return {
        name: [[rounded(value) for value in row] for row in ends]
        for name, ends in (("low", low - margin), ("high", high + margin))
    }


def rounded(value: float) -> float:
    """To four digits, so that the block reads well."""
    return float(f"{value:.4g}")


def check_limits(
    result: SegmentedImage,
    limits: Mapping[str, Any],
    intensity: Intensity | None = None,
    *,
    complete: bool = True,
) -> list[str]:
    """What goes beyond the limits, a sentence each.

    Args:
        result: a segmented image.
        limits: see `measure_limits`; parts of it may be missing, which are not checked then.
        intensity: with which it was segmented; None leaves the image unchecked.
        complete: whether all slices were segmented; otherwise a class may be small.
    """
    found = shade_warnings(result, limits.get("intensity") or {}, intensity) if intensity is not None else []
    label = result.label[None] if result.view is None else result.view.see(result.label)
    of_classes = limits.get("classes") or {}
    for index, extent in extents(label).items():
        name = result.labels[index]
        found += extent_warnings(name, extent, of_classes.get(name) or {}, result, complete)
    return found


def extent_warnings(
    name: str, extent: Extent, limits: Mapping[str, Any], result: SegmentedImage, complete: bool
) -> list[str]:
    """What goes beyond the limits of a class."""
    view, found = result.view, []
    whole = "picture" if view is None else "volume"
    if extent.slice_share > limits.get("slice_share", 1.0) and view is not None:
        number = view.renumbered(extent.place)
        found.append(f"{name} covers {_share(extent.slice_share)} of slice {number}, {_usual(limits['slice_share'])}")
    least, most = limits.get("volume_share") or (0.0, 1.0)
    if extent.volume_share > most:
        found.append(f"{name} covers {_share(extent.volume_share)} of the {whole}, {_usual(most)}")
    if complete and extent.volume_share < least:
        found.append(
            f"{name} covers only {_share(extent.volume_share)} of the {whole}, usual are {_share(least)} or more"
        )
    if extent.parts > limits.get("parts", extent.parts):
        found.append(f"{name} has {extent.parts} parts, usual are {limits['parts']} or fewer")
    if extent.gap > limits.get("gap", extent.gap):
        found.append(f"{name} has parts {_share(extent.gap)} of the image apart, {_usual(limits['gap'])}")
    return found


def shade_warnings(result: SegmentedImage, limits: Mapping[str, Any], intensity: Intensity) -> list[str]:
    """Whether an image is darker or brighter than the training's, told by the quantile that is farthest off."""
    if not limits:
        return []
    low, high = np.array(limits["low"]), np.array(limits["high"])
    coloured = len(low) == 3
    found, low, high = np.broadcast_arrays(shades(result.source, intensity, result.view, result.limits), low, high)
    off = np.maximum(found - high, low - found)
    row, column = np.unravel_index(int(off.argmax()), off.shape)
    if off[row, column] <= 0:
        return []
    value, ends = found[row, column], (max(low[row, column], 0.0), min(high[row, column], 1.0))
    channel = f" of {('red', 'green', 'blue')[row]}" if coloured else ""
    return [
        f"the image is unlike those of the training: between black (0) and white (1) its {QUANTILES[column]:.0%} "
        f"quantile{channel} is {value:.2f}, usual are {ends[0]:.2f} to {ends[1]:.2f}; check the intensity"
    ]


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _usual(most: float) -> str:
    return f"usual are {_share(most)} or less"
