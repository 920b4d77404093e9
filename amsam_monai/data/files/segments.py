"""Label files whose classes have names of their own, by which they are matched, and that cover a part of the image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amsam_monai.data.files.limits import check_voxels
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage

ON_GRID = 0.05  # voxels by which a label's voxel may lie beside one of the image
NAMELESS = re.compile(r"(segment|label)[ _]?\d*", re.I)  # what programs call a segment that nobody named


@dataclass(frozen=True)
class Segments:
    """Named segments on one grid.

    Args:
        names: of every segment, by its number.
        layers: numbers, 0 where there is none; segments of different layers may overlap.

    Shape: layers (I, J, K) each.
    """

    names: dict[int, str]
    layers: tuple[np.ndarray, ...]

    def as_classes(self, path: Path, labels: Mapping[int, str] | None = None) -> np.ndarray:
        """Class indices of a table, by name; the segments' own numbers without one.

        Raises:
            ImageFileError: a segment that the table does not name, or two segments at one voxel.
        """
        classes = {number: number for number in self.names} if labels is None else self._by_name(path, labels)
        lookup = np.zeros(max([0, *self.names]) + 1, np.uint8 if max([0, *classes.values()]) < 256 else np.int32)
        for number, index in classes.items():
            lookup[number] = index
        found = lookup[self.layers[0]]
        for layer in self.layers[1:]:
            more = lookup[layer]
            if ((found != more) & (found > 0) & (more > 0)).any():
                names = ", ".join(self.names.values())
                raise ImageFileError(path, f"segments must not overlap, those of {names} do; cut them apart first.")
            found = np.maximum(found, more)
        return found

    def _by_name(self, path: Path, labels: Mapping[int, str]) -> dict[int, int]:
        indices = {plain(name): index for index, name in labels.items()}
        classes: dict[int, int] = {}
        for number, name in self.names.items():
            nameless = NAMELESS.fullmatch(name.strip()) and number in labels
            index = indices.get(plain(name), number if nameless else None)
            if index is None:
                table = ", ".join(f"{index}={name}" for index, name in labels.items())
                own = ", ".join(self.names.values())
                raise ImageFileError(path, f"its segments are called {own}, the table is {table}; map or rename them.")
            classes[number] = index
        return classes


def plain(name: str) -> str:
    """A name without regard to case, underscores, and what DICOM cuts off."""
    return " ".join(name.replace("_", " ").casefold().split())[:64]


def place_on(label: LoadedImage, image: LoadedImage) -> np.ndarray:
    """A label that covers part of an image, in the image's voxels; no value is interpolated.

    Raises:
        ImageFileError: its voxels do not fall on those of the image, or lie outside.

    Shape: (i, j, k) -> image.spatial_shape
    """
    if label.affine is None or image.affine is None:
        raise ImageFileError(label.path, f"label must have the shape of {image.path}, whose place nobody knows.")
    to_image = np.linalg.inv(image.affine) @ label.affine
    steps = [np.rint(to_image[:3, axis]).astype(int) for axis in (0, 1)]
    if any(np.abs(to_image[:3, axis] - steps[axis]).max() * label.array.shape[axis] > 0.5 for axis in (0, 1)) or any(
        np.abs(step).sum() != 1 for step in steps
    ):
        problem = f"its voxels must be those of {image.path}, they are of another size or direction"
        raise ImageFileError(label.path, f"{problem}; resample it with nearest neighbours.")
    placed = np.zeros(image.spatial_shape, label.array.dtype)
    for k in range(label.array.shape[2]):
        plane = label.array[..., k]
        i, j = np.nonzero(plane)
        if not len(i):
            continue
        start = (to_image @ [0, 0, k, 1])[:3]
        if np.abs(start - np.rint(start)).max() > ON_GRID:
            raise ImageFileError(label.path, f"its voxels lie between those of {image.path}; resample it with nearest.")
        where = np.rint(start).astype(int)[:, None] + steps[0][:, None] * i + steps[1][:, None] * j
        if (where < 0).any() or (where >= np.array(placed.shape)[:, None]).any():
            raise ImageFileError(label.path, f"it must lie within {image.path}, it reaches beyond; is this its image?")
        placed[tuple(where)] = plane[i, j]
    return placed


def onto(label: LoadedImage, image: LoadedImage) -> LoadedImage:
    """The label in the geometry of its image; itself where it has it already."""
    same = label.spatial_shape == image.spatial_shape
    if same and (label.affine is None or image.affine is None or np.allclose(label.affine, image.affine, atol=1e-3)):
        return label
    return replace(
        label,
        array=place_on(label, image),
        affine=image.affine,
        spacing_mm=image.spacing_mm,
        stored_shape=image.spatial_shape,
        segments=None,
    )


def common_grid(one: LoadedImage, other: LoadedImage) -> LoadedImage:
    """A grid that holds two labels which cover parts of one image."""
    if one.affine is None or other.affine is None:
        return one
    fine, coarse = sorted((one, other), key=lambda label: abs(float(np.linalg.det(label.affine[:3, :3]))))  # type: ignore[index]
    to_fine = np.linalg.inv(np.asarray(fine.affine)) @ np.asarray(coarse.affine)
    ends = np.array(np.meshgrid(*[(0, size - 1) for size in coarse.array.shape])).reshape(3, -1)
    corners = np.rint(to_fine[:3, :3] @ ends + to_fine[:3, 3:]).astype(int)
    first = np.minimum(corners.min(axis=1), 0)
    last = np.maximum(corners.max(axis=1), np.array(fine.array.shape) - 1)
    affine = np.asarray(fine.affine) @ np.block([[np.eye(3), first[:, None]], [np.zeros((1, 3)), 1]])
    shape = tuple(int(length) for length in last - first + 1)
    check_voxels(one.path, shape)
    array = np.broadcast_to(np.uint8(0), shape)
    return replace(fine, array=array, affine=np.asarray(affine), stored_shape=array.shape, segments=None)
