"""Labels that people save: the file they send, what its values mean, and whether it fits its image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.classes import HIGHEST_VALUE
from amsam_monai.data.files.images import LoadedImage, check_same_geometry, read_label
from amsam_monai.data.files.segments import onto

HIGHEST = 255  # of labels, where no bundle that is served has higher values
VALUE_KEYS = ("idx", "labelID", "label", "id")


def value_names(info: Mapping[str, Any]) -> dict[int, str] | None:
    """Value -> name from what 3D Slicer, OHIF and this server save beside a label; None where nothing was said.

    Args:
        info: JSON object with `label_info` [{"name": ..., "idx": ...}, ...] or {name: value}, or with
            `params.label_names`. Entries without a value are numbered from 1 by their place.

    Raises:
        ValueError: entries of another form, values outside 1..65535, or one value or name twice.
    """
    if not isinstance(info, Mapping):
        raise ValueError(f"what is saved beside a label must be a JSON object, got {str(info)[:80]}.")
    params = info.get("params")
    listed = info.get("label_info") or (params.get("label_names") if isinstance(params, Mapping) else None)
    if not listed:
        return None
    if isinstance(listed, Mapping):
        pairs = [(value, name) for name, value in listed.items()]
    elif isinstance(listed, list) and all(
        isinstance(entry, Mapping) and _is_name(entry.get("name")) for entry in listed
    ):
        pairs = [(_value_of(entry, place), entry["name"]) for place, entry in enumerate(listed, 1)]
    else:
        raise ValueError(f'label_info must be a list of {{"name": ..., "idx": ...}}, got {str(listed)[:120]}.')
    names: dict[int, str] = {}
    for value, name in pairs:
        number = int(value) if isinstance(value, (int, str)) and str(value).strip().isdigit() else -1
        if isinstance(value, bool) or not 0 <= number <= HIGHEST_VALUE:
            said = f"got {str(value)[:40]!r} for {name!r}"
            raise ValueError(f"values in label_info must lie in 1..{HIGHEST_VALUE}, {said}.")
        if number in names or str(name) in names.values():
            raise ValueError(f"label_info must hold each value and each name once, got {number}: {name!r} again.")
        names[number] = str(name)
    names.pop(0, None)
    return names


def listed(names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Names of values as clients write them."""
    return [{"name": name, "idx": value} for value, name in names.items()]


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name.strip())


def _value_of(entry: Mapping[str, Any], place: int) -> Any:
    return next((entry[key] for key in VALUE_KEYS if entry.get(key) is not None), place)


def read_saved_label(
    path: str | Path, image: LoadedImage, names: Mapping[int, str] | None = None, *, highest: int = HIGHEST
) -> tuple[np.ndarray, dict[int, str] | None]:
    """A label that a client sends for an image, in the image's voxel order, and the name of each value.

    Args:
        path: any format of `read_label`, or .bin: OHIF's bytes, columns first, one for each voxel.
        image: what it belongs to.
        names: name of each value, where the client said so and the file does not.
        highest: value that a label may hold.

    Raises:
        ValueError: it cannot be read, has another shape or lies elsewhere in space, holds a value without a name or
            above `highest`.

    Shape: the image's.
    """
    shape = image.spatial_shape
    if str(path).endswith(".bin"):
        array = np.fromfile(path, dtype=np.uint8)
        if array.size != int(np.prod(shape)):
            raise ValueError(f"label must have one byte for each of the image's {shape} voxels, got {array.size}.")
        array = array.reshape(shape, order="F" if image.kind == "volume" else "C")
    else:
        label = read_label(path, alone=True)
        if label.segments is not None:
            array, own = _with_segments(label, image)
            check_values(array, highest)
            return array, own
        if label.array.size != int(np.prod(shape)):
            raise ValueError(f"label must have the image's shape {shape}, got {label.array.shape}.")
        if image.kind == "volume":
            label.array = label.array.reshape(shape)
            try:
                check_same_geometry(image, label)
            except ValueError as error:
                raise ValueError(f"label must lie where its image lies: {_without_paths(error)}") from error
        array = label.array
    check_values(array, highest)
    return array, settled(names, {int(value) for value in np.unique(array)} - {0})


def check_values(label: np.ndarray, highest: int = HIGHEST) -> None:
    """Refuse what no class of the bundles that are served can mean.

    Raises:
        ValueError: a value below 0 or above `highest`, and which bundles have higher ones.
    """
    least, most = int(label.min(initial=0)), int(label.max(initial=0))
    if least < 0 or most > highest:
        more = (
            "; higher ones need a bundle with such values (label_values: own)"
            if highest < most <= HIGHEST_VALUE
            else ""
        )
        raise ValueError(f"label values must lie in 0..{highest}, got {least}..{most}{more}.")


def _with_segments(label: LoadedImage, image: LoadedImage) -> tuple[np.ndarray, dict[int, str]]:
    """A file that names its segments itself (.seg.nrrd, DICOM-SEG), which may cover a part of the image."""
    try:
        array = onto(label, image).array
    except ValueError as error:
        raise ValueError(f"label must lie where its image lies: {_without_paths(error)}") from error
    return array, dict(label.segments.names)


def settled(names: Mapping[int, str] | None, values: set[int]) -> dict[int, str] | None:
    """The name of each value of a label map.

    3D Slicer counts the segment "background" where it numbers the others, but does not send it: values after it are
    one less than said. So where one number is missing, the values that are there tell which count holds.

    Args:
        names: as the client said.
        values: those in the label map.

    Raises:
        ValueError: a value without a name, or one that either count would name otherwise.
    """
    if names is None:
        return None
    numbers, places = sorted(names), list(range(1, len(names) + 1))
    missing = set(range(1, len(names) + 2)) - set(numbers)
    if len(missing) == 1 and numbers != places and numbers == list(names):
        gap, last = missing.pop(), len(names) + 1
        by_place = dict(zip(places, names.values(), strict=True))
        if last not in values and values <= set(places):
            if gap in values:
                return by_place
            if max(values, default=0) > gap:
                raise ValueError(
                    f"label_info must number the segments without a gap, got {numbers}; move the segment background "
                    "behind all others, and submit again."
                )
    if unnamed := sorted(values - set(names)):
        raise ValueError(f"label values must be among those of label_info, {dict(names)}, got {unnamed} besides.")
    return dict(names)


def _without_paths(error: ValueError) -> str:
    return str(getattr(error, "problem", error)).replace(str(getattr(error, "path", "")), "the file")
