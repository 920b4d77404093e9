"""An image and its label as arrays that fit each other, whatever the owner stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amsam_monai.data.classes import HIGHEST_VALUE
from amsam_monai.data.datasets.annotations import read_annotations
from amsam_monai.data.datasets.polygons import POLYGON_SUFFIX, read_polygons
from amsam_monai.data.files.images import read_image, read_label
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage, check_same_geometry
from amsam_monai.data.files.pictures import UPRIGHT
from amsam_monai.data.files.segments import onto

RULES = ("table", "named", "binary", "instances")
LOSSY = (".jpg", ".jpeg")
MANY = 20  # unknown values from which on a label is more likely the image
COMPRESSION_NOISE = 32  # how far JPEG moves a mask's 0 and 255


@dataclass
class ReadCase:
    """A case in memory.

    Args:
        image: as `read_image` gave it.
        label: class indices, 0 background, on the image's grid.
        mended: what was done to the label, such as "resized".
    """

    image: LoadedImage
    label: LoadedImage
    mended: tuple[str, ...] = ()


def read_case(
    image: str | Path, label: str | Path, rule: str = "table", labels: Mapping[int, str] | None = None
) -> ReadCase:
    """Image and label of a case; a picture's label is brought to the image's size and to class indices.

    Args:
        image: file.
        label: file; the same one where an array file holds both.
        rule: how label values become classes, see `to_classes`.
        labels: table of label ids; None leaves the ids of rule "table" unchecked.

    Raises:
        ImageFileError, FileNotFoundError, PermissionError: a file that cannot be used; the message names it.
    """
    picture = read_image(image)
    mended = [f"belong to an image that is {UPRIGHT}"] if UPRIGHT in picture.notes else []
    if str(label).lower().endswith((POLYGON_SUFFIX, ".json")):
        mask = LoadedImage(_drawn(Path(label), picture, labels or {}), "image", Path(label), "polygons")
        mended.append("drawn from polygons")
    else:
        mask = read_label(label, labels=labels)
        mended += [UPRIGHT] if UPRIGHT in mask.notes else []
        if mask.segments is not None:
            mask, rule = named_label(mask, picture, labels), "named" if rule == "named" else "table"
    mask.array, how = to_classes(mask, rule, labels)
    mended += [how] if how else []
    if picture.kind == "image" and mask.kind == "image" and picture.spatial_shape != mask.spatial_shape:
        mask.array = resize_label(mask, picture)
        mask.stored_shape = mask.array.shape
        mended.append("resized")
    check_same_geometry(picture, mask)
    return ReadCase(picture, mask, tuple(mended))


def _drawn(label: Path, picture: LoadedImage, labels: Mapping[int, str]) -> np.ndarray:
    """The mask of a file of outlines."""
    if str(label).lower().endswith(POLYGON_SUFFIX):
        return read_polygons(label, picture.spatial_shape)
    return read_annotations(label, picture.path, picture.spatial_shape, labels)


def named_label(mask: LoadedImage, picture: LoadedImage, labels: Mapping[int, str] | None) -> LoadedImage:
    """A label file that names its classes, on its image's grid.

    Raises:
        ImageFileError: there is no table to match the names with.
    """
    if labels is None:
        names = ", ".join(mask.segments.names.values())
        raise ImageFileError(mask.path, f"names its classes itself ({names}); give the table of labels to match.")
    return onto(mask, picture)


def to_classes(mask: LoadedImage, rule: str, labels: Mapping[int, str] | None = None) -> tuple[np.ndarray, str | None]:
    """Class indices, uint8 (int32 where ids are above 255), and what it took beyond the plain rule.

    "table": values are the table's ids; without one up to 65535, no more than MANY of them above 255.
    "named": the same, and all other values are background.
    "binary": 0 is background, and 1 or 255 foreground; values that compression moved are cut at half.
    "instances": every object has a value of its own, anything above 0 is foreground.

    Raises:
        ValueError: unknown rule.
        ImageFileError: values that the rule does not know.
    """
    if rule not in RULES:
        raise ValueError(f"label rule must be one of {RULES}, got {rule!r}.")
    array = mask.array
    values = present_values(array)
    if rule == "named":
        kept = np.isin(array, list(labels)) if labels else array > 0
        return _narrowed(np.where(kept, array, 0), values), None
    if rule == "table":
        allowed = {0, *labels} if labels else set(range(256))
        unknown = [value for value in values if value not in allowed]
        if unknown and (labels or len(unknown) > MANY or values[0] < 0 or values[-1] > HIGHEST_VALUE):
            raise ImageFileError(mask.path, _unknown_values(unknown, labels))
        return _narrowed(array, values), None
    if values and values[0] < 0:
        raise ImageFileError(mask.path, f"label values must not be negative, got {values[0]}.")
    if rule == "instances":
        return (array > 0).astype(np.uint8), None
    return _binary(mask, values)


def _narrowed(label: np.ndarray, values: list[int]) -> np.ndarray:
    """A label of these values in 8 bits, where they suffice."""
    return label.astype(np.uint8 if max(values, default=0) < 256 else np.int32, copy=False)


def _binary(mask: LoadedImage, values: list[int]) -> tuple[np.ndarray, str | None]:
    lossy = mask.path.name.lower().endswith(LOSSY)
    if not lossy and set(values) <= {0, 1}:
        return mask.array.astype(np.uint8, copy=False), None
    if set(values) <= {0, 255}:
        return (mask.array > 127).astype(np.uint8), None
    strays = [v for v in values if COMPRESSION_NOISE <= v <= 255 - COMPRESSION_NOISE or v > 255]
    if not lossy and not any(255 - COMPRESSION_NOISE <= v < 255 for v in values):
        strays = [v for v in values if v not in (0, 255)]  # whole numbers of some other meaning, not noise
    if strays and not (lossy and values[-1] <= 255 and _mostly_black_and_white(mask.array)):
        shown = ", ".join(str(value) for value in strays[:5])
        raise ImageFileError(
            mask.path,
            f"label values must be 0 and 255, or 0 and 1, got {shown}{' ...' if len(strays) > 5 else ''}; "
            "is this the image, or a label with several classes?",
        )
    return (mask.array > 127).astype(np.uint8), "cut at half"


def _mostly_black_and_white(array: np.ndarray) -> bool:
    """Whether grey is rare enough to be the ringing of JPEG along an outline."""
    grey = (array >= COMPRESSION_NOISE) & (array <= 255 - COMPRESSION_NOISE)
    return float(grey.mean()) < 0.05


def _unknown_values(unknown: list[int], labels: Mapping[int, str] | None) -> str:
    known = ", ".join(f"{value} {name}" for value, name in labels.items()) if labels else f"at most {HIGHEST_VALUE}"
    shown = ", ".join(str(value) for value in unknown[:5]) + (" ..." if len(unknown) > 5 else "")
    if unknown == [255] and labels and len(labels) == 1:
        name = next(iter(labels.values()))
        return f"label values must be 0 or {known}, got 255; for masks of 0 and 255 give 255={name}."
    hint = "is this the image?" if len(unknown) > MANY else "give the table that these labels follow, or mend them."
    return f"label values must be 0 or {known}, got {shown}; {hint}"


def present_values(array: np.ndarray) -> list[int]:
    """Values that occur, ascending."""
    if array.size == 0:
        return []
    if array.dtype == np.uint8:
        return [int(value) for value in np.flatnonzero(np.bincount(array.ravel(order="K"), minlength=256))]
    return [int(value) for value in np.unique(array)]


def resize_label(mask: LoadedImage, picture: LoadedImage) -> np.ndarray:
    """A label on its image's grid, nearest (half-pixel centres).

    Raises:
        ImageFileError: its aspect is not the image's, give or take a pixel of rounding.

    Shape: (h, w) -> (H, W)
    """
    (rows, columns), (height, width) = mask.spatial_shape, picture.spatial_shape
    if abs(columns - width * rows / height) > 1 and abs(rows - height * columns / width) > 1:
        hint = "."
        if abs(rows - width * columns / height) <= 1:
            upright = f"; the image is {UPRIGHT}, its label was drawn on the stored pixels: turn it too."
            lost = "; one of them seems turned by its EXIF tag, which was dropped since: turn it back."
            hint = upright if UPRIGHT in picture.notes else lost
        raise ImageFileError(
            mask.path, f"label must have the aspect of {picture.path}, {width}x{height}, got {columns}x{rows}{hint}"
        )
    y = ((np.arange(height) + 0.5) * rows / height).astype(np.intp)
    x = ((np.arange(width) + 0.5) * columns / width).astype(np.intp)
    return mask.array[np.ix_(y, x)]
