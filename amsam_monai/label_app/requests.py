"""What MONAI Label's clients send for a click, as a session's prompts; no MONAI Label needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amsam_monai.session.edits import SessionPoint
from amsam_monai.session.limits import check_count

Voxel = tuple[float, float, float]
Box = tuple[Voxel, Voxel]
ROI_ORDERS = ("pairs", "corners")


@dataclass
class PromptRequest:
    """A client's prompts.

    Args:
        points: per class name, all points that the client shows for it.
        boxes: per class name, two opposite corner voxels of its one box.
        object_boxes: per class name, such corners for each of its objects: all boxes that the client shows for it.
        label: the class that the answer is about; None where it is about all (deepedit).
        slice: the slice that the client looks at, or None.
        reset: forget what the client did before.
        keep_automatic: the network's own points count too; otherwise `points` are all there are.
        keep_boxes: the network's own boxes count too; otherwise `object_boxes` are all there are.
        propagate: carry the slice's mask to its neighbours.
    """

    points: dict[str, list[SessionPoint]] = field(default_factory=dict)
    boxes: dict[str, Box] = field(default_factory=dict)
    object_boxes: dict[str, list[Box]] = field(default_factory=dict)
    label: str | None = None
    slice: int | None = None
    reset: bool = False
    keep_automatic: bool = True
    keep_boxes: bool = False
    propagate: bool = False


def parse_prompts(request: Mapping[str, Any], labels: Sequence[str], shape: Sequence[int]) -> PromptRequest:
    """Read the forms that 3D Slicer and OHIF send.

    deepgrow: `label`, `foreground` and `background` [[i, j, k], ...], `roi`, `slice`, `reset_state`.
    deepedit: a list of points under each class name, and under "background".
    vista3d: `points`, `point_labels` (1, 0) and `label_prompt` [class index].
    Beside each of them `boxes`, as answers list them: a box for each object of `label`, or such lists by class name.
    Voxels are those of the stored image.

    Args:
        request: the client's parameters.
        labels: class names, in the order of their indices from 1.
        shape: (I, J, K) of the stored image, of a picture (columns, rows, 1).

    Raises:
        ValueError: an unknown label, a point or box outside the image, or values that are no voxels.
    """
    parsed = PromptRequest(
        slice=_slice(request.get("slice")),
        reset=_flag(request.get("reset_state", False)),
        keep_automatic=_flag(request.get("automatic_points", True)),
        keep_boxes=_flag(request.get("automatic_boxes", False)),
        propagate=_flag(request.get("propagate", False)),
    )
    by_name = _deepedit(request, labels, shape)
    if by_name and not (request.get("foreground") or request.get("points")):
        parsed.points = _against_each_other(by_name, labels)
        parsed.label = None
    else:
        parsed.label = _label(request, labels)
        parsed.points = {parsed.label: _deepgrow(request, shape)}
    roi = _list(request.get("roi"), "roi")
    if roi:
        name = parsed.label or _label(request, labels)
        parsed.boxes = {name: parse_roi(roi, shape, str(request.get("roi_order", "pairs")))}
    if request.get("boxes") is not None:
        parsed.object_boxes = _object_boxes(request, parsed.label, labels, shape)
        if both := parsed.boxes.keys() & parsed.object_boxes.keys():
            raise ValueError(f"roi must not come with boxes of the same class, got both for {', '.join(both)}.")
    return parsed


def _object_boxes(
    request: Mapping[str, Any], label: str | None, labels: Sequence[str], shape: Sequence[int]
) -> dict[str, list[Box]]:
    """The boxes of each class in a request; a list is of the class that the request is about."""
    listed = request["boxes"]
    if isinstance(listed, str):
        try:
            listed = json.loads(listed)
        except json.JSONDecodeError as error:
            raise ValueError(f"boxes must be a list of boxes, or such lists by class name, got {listed!r}.") from error
    by_name = listed if isinstance(listed, Mapping) else {label or _label(request, labels): listed}
    known = {name.casefold(): name for name in labels}
    if unknown := [name for name in by_name if str(name).casefold() not in known]:
        raise ValueError(f"boxes must be of {', '.join(labels)}, got some of {unknown[0]!r}.")
    if label is not None and (others := [name for name in by_name if str(name).casefold() != label.casefold()]):
        raise ValueError(f"boxes must be of the label {label}, which the answer is about, got some of {others[0]!r}.")
    return {known[str(name).casefold()]: _boxes(boxes, shape) for name, boxes in by_name.items()}


def _boxes(value: Any, shape: Sequence[int]) -> list[Box]:
    boxes = _list(value, "boxes")
    check_count("boxes", len(boxes), "boxes")
    for box in boxes:
        if not isinstance(box, (list, tuple)) or len(box) != 2:
            raise ValueError(f"boxes must hold pairs of corner voxels [[i, j, k], [i, j, k]], got {box!r} in it.")
    pairs = [_voxels(box, "boxes", shape) for box in boxes]
    return [(first, second) for first, second in pairs]


def parse_roi(roi: Sequence[Any], shape: Sequence[int], order: str = "pairs") -> Box:
    """Two opposite corner voxels of a region of interest, sorted, and cut at the image's border.

    Args:
        roi: [i, i, j, j, k, k] as 3D Slicer sends it ("pairs"), [i, j, k, i, j, k] ("corners"), either without the
            third axis for a picture, or [[i, j, k], [i, j, k]]. Ends may come in any order: an axis that the image
            stores backwards swaps them.
        shape: (I, J, K).
        order: how to read a flat list; where it lies outside the image read so, and inside read the other way, the
            other way it is.

    Raises:
        ValueError: another form, or no voxel of the image inside.
    """
    if order not in ROI_ORDERS:
        raise ValueError(f"roi_order must be one of {ROI_ORDERS}, got {order!r}.")
    if len(roi) == 2 and all(isinstance(corner, (list, tuple)) for corner in roi):
        readings = [(list(roi[0]), list(roi[1]))]
    elif len(roi) in (4, 6):
        half = len(roi) // 2
        pairs, corners = (list(roi[0::2]), list(roi[1::2])), (list(roi[:half]), list(roi[half:]))
        readings = [pairs, corners] if order == "pairs" else [corners, pairs]
    else:
        raise ValueError(f"roi must be [imin, imax, jmin, jmax, kmin, kmax], got {roi!r}.")
    cut = [_cut(*reading, shape) for reading in readings]
    for reading, inside in zip(readings, cut, strict=True):
        if inside is not None and not _reaches_out(*reading, shape):
            return inside
    found = next((inside for inside in cut if inside is not None), None)
    if found is None:
        raise ValueError(f"roi must overlap the image, (i, j, k) below {tuple(shape)}, got {roi!r}.")
    return found


def _numbers(values: Sequence[Any], what: str) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be numbers, got {values!r}.") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{what} must be numbers, got {values!r}.")
    return numbers


def _cut(one: Sequence[Any], other: Sequence[Any], shape: Sequence[int]) -> Box | None:
    """The part of a box inside the image, as sorted corners; None where there is none."""
    first, second = _numbers(one, "roi"), _numbers(other, "roi")
    first, second = first + [0.0] * (3 - len(first)), second + [0.0] * (3 - len(second))
    lows, highs = [], []
    for low, high, size in zip(map(min, first, second), map(max, first, second), shape, strict=True):
        if high < -0.5 or low > size - 0.5:
            return None
        lows.append(max(float(round(low)), 0.0))
        highs.append(min(float(round(high)), size - 1.0))
    return (lows[0], lows[1], lows[2]), (highs[0], highs[1], highs[2])


def _reaches_out(one: Sequence[Any], other: Sequence[Any], shape: Sequence[int]) -> bool:
    return any(not -0.5 <= float(v) <= n - 0.5 for corner in (one, other) for v, n in zip(corner, shape, strict=False))


def _list(value: Any, name: str) -> list[Any]:
    """A list, also where a client sends it as JSON text; empty for none."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} must be a list, got {value!r}.") from error
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} must be a list, got {value!r}.")
    return list(value)


def _voxels(value: Any, name: str, shape: Sequence[int]) -> list[Voxel]:
    voxels, entries = [], _list(value, name)
    check_count(name, len(entries))
    for entry in entries:
        if not isinstance(entry, (list, tuple)):
            raise ValueError(f"{name} must be a list of voxels [i, j, k], got {entry!r} in it.")
        numbers = _numbers(entry, name)
        if len(numbers) == 2:
            numbers.append(0.0)
        if len(numbers) != 3 or any(not -0.5 <= v < n - 0.5 for v, n in zip(numbers, shape, strict=False)):
            raise ValueError(f"{name} must hold voxels inside the image, below {tuple(shape)}, got {list(entry)}.")
        voxels.append((numbers[0], numbers[1], numbers[2]))
    return voxels


def _label(request: Mapping[str, Any], labels: Sequence[str]) -> str:
    """The class that a request names; the only one where it names none."""
    name = request.get("label")
    prompt = _list(request.get("label_prompt"), "label_prompt")
    if prompt and not name:
        if not (isinstance(prompt[0], int) and 1 <= prompt[0] <= len(labels)):
            raise ValueError(f"label_prompt must be an index from 1 to {len(labels)}, got {prompt!r}.")
        return labels[prompt[0] - 1]
    if not name:
        if len(labels) == 1:
            return labels[0]
        raise ValueError(f"label must be one of {', '.join(labels)}, got none.")
    found = next((label for label in labels if label.casefold() == str(name).casefold()), None)
    if found is None:
        raise ValueError(f"label must be one of {', '.join(labels)}, got {name!r}.")
    return found


def _deepgrow(request: Mapping[str, Any], shape: Sequence[int]) -> list[SessionPoint]:
    points = [SessionPoint(voxel) for voxel in _voxels(request.get("foreground"), "foreground", shape)]
    points += [SessionPoint(voxel, False) for voxel in _voxels(request.get("background"), "background", shape)]
    listed = _voxels(request.get("points"), "points", shape)
    signs = _list(request.get("point_labels"), "point_labels") or [1] * len(listed)
    if len(signs) != len(listed):
        raise ValueError(f"point_labels must go with points, got {len(signs)} for {len(listed)} points.")
    return points + [SessionPoint(voxel, bool(sign)) for voxel, sign in zip(listed, signs, strict=True)]


def _deepedit(request: Mapping[str, Any], labels: Sequence[str], shape: Sequence[int]) -> dict[str, list[Voxel]]:
    """Points under class names, and under "background"; empty where the request has no class name as key."""
    names = {label.casefold(): label for label in labels}
    found = {}
    for key, value in request.items():
        if isinstance(value, (list, tuple)) and (name := names.get(str(key).casefold())):
            found[name] = _voxels(value, name, shape)
    if found:
        found["background"] = _voxels(request.get("background"), "background", shape)
    return found


def _against_each_other(by_name: Mapping[str, list[Voxel]], labels: Sequence[str]) -> dict[str, list[SessionPoint]]:
    """Each class's points, and as negative points of it those of background; classes that the client did not list
    have none.
    """
    background = [SessionPoint(voxel, False) for voxel in by_name.get("background", [])]
    return {
        label: [*(SessionPoint(voxel) for voxel in by_name[label]), *background]
        for label in labels
        if label in by_name and (by_name[label] or background)
    } | {label: [] for label in labels if label in by_name and not (by_name[label] or background)}


def _slice(value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        return round(float(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"slice must be a number, got {value!r}.") from error


def _flag(value: Any) -> bool:
    return value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)
