"""What a file holds once it is read: pixels or voxels, and the geometry to write a label map back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.bit_depth import white

GEOMETRY_TOLERANCE = 1e-3  # mm, between the affines of an image and of its label


class ImageFileError(ValueError):
    """A file that cannot be used as it is; the message starts with its path.

    Args:
        path: the offending file or folder.
        problem: what is wrong, and how to mend it.
    """

    def __init__(self, path: str | Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)
        self.problem = problem

    @property
    def for_strangers(self) -> str:
        """The message without the folder, which is nobody else's business."""
        name = self.path.name
        return f"{name}: {self.problem}".replace(str(self.path), name).replace(f"{self.path.parent}{os.sep}", "")

    def __reduce__(self) -> tuple[Any, ...]:  # two arguments, so that a data loader's worker can send it on
        return type(self), (self.path, self.problem)


@dataclass
class LoadedImage:
    """An image or a volume in memory, with what is needed to write a label map in its geometry.

    Args:
        array: stored voxels in their own type; no rescaling but the file's own slope and intercept.
        kind: "image" (rows first) or "volume" (voxel index i, j, k as NIfTI and nibabel count them).
        path: file, or folder of a DICOM series.
        format: "nifti", "itk" (NRRD, MetaImage), "dicom", "picture" (PNG, JPG, TIF) or "array" (npz, h5).
        affine: voxel index to RAS millimetres; None where the file has no geometry.
        spacing_mm: size of a voxel; None where it is unknown (no affine, or the identity as a placeholder).
        stored_shape: shape in the file, where it differs (a 2D NIfTI, a trailing axis of length 1).
        header: nibabel's header of a NIfTI file, SimpleITK's geometry (`ItkGeometry`) of what it read.
        members: files of a DICOM series, in the order of the last axis.
        frames: of a single DICOM file, which of its frames these are, in the order of the last axis.
        bits: how many bits the stored values have, where the file says so.
        notes: what a reader should know about how the file was read.
        segments: of a label file that names its classes itself, see `Segments`.

    Shape: array (H, W), (H, W, 3) for an image, (I, J, K) for a volume.
    """

    array: np.ndarray
    kind: str
    path: Path
    format: str
    affine: np.ndarray | None = None
    spacing_mm: tuple[float, ...] | None = None
    stored_shape: tuple[int, ...] = ()
    header: Any = None
    members: list[Path] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    bits: int | None = None
    notes: list[str] = field(default_factory=list)
    segments: Any = None

    def __post_init__(self) -> None:
        if self.array.dtype.kind not in "biuf":
            raise ImageFileError(self.path, f"must hold single real numbers, got {self.array.dtype}; convert it.")
        self.stored_shape = tuple(self.stored_shape) or self.array.shape

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape of a label map: (H, W) or (I, J, K)."""
        return self.array.shape[:2] if self.kind == "image" else self.array.shape

    @property
    def voxel_ml(self) -> float | None:
        """Millilitres of one voxel; None where the spacing is unknown, or for a picture."""
        if self.spacing_mm is None or self.kind == "image":
            return None
        volume = float(np.prod(self.spacing_mm)) / 1000.0
        if self.affine is None:
            return volume
        axes = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return volume * abs(float(np.linalg.det(axes)))  # sheared voxels are smaller than their edges say

    @property
    def pixel_mm2(self) -> float | None:
        """Square millimetres of a pixel of a picture; None where the spacing is unknown, or for a volume."""
        if self.spacing_mm is None or self.kind == "volume":
            return None
        return float(self.spacing_mm[0] * self.spacing_mm[1])


def channels_first(loaded: LoadedImage) -> np.ndarray:
    """Stored values with the channel first.

    Shape: (H, W) -> (1, H, W), (H, W, 3) -> (3, H, W), (I, J, K) -> (1, I, J, K).
    """
    colour = loaded.kind == "image" and loaded.array.ndim == 3
    return np.moveaxis(loaded.array, -1, 0) if colour else loaded.array[None]


def picture_values(loaded: LoadedImage) -> np.ndarray:
    """A picture's values as every door takes them: channel first, float32, 16 bits as 8. Shape (C, H, W)."""
    values = channels_first(loaded).astype(np.float32)
    if loaded.kind == "image" and loaded.array.dtype == np.uint16:
        values *= np.float32(255.0 / white(float(loaded.array.max(initial=0)), loaded.bits))
    return np.ascontiguousarray(values)


def spacing_of(affine: np.ndarray | None) -> tuple[float, ...] | None:
    """Voxel size in the affine's unit; None for no affine and for the identity (in RAS or LPS), a mere placeholder."""
    if affine is None:
        return None
    identities = (np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0]))
    if any(np.allclose(affine, identity, atol=1e-6) for identity in identities):
        return None
    return tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))


def is_sheared(affine: np.ndarray) -> bool:
    """Whether the axes are not at right angles, as in CT with a tilted gantry."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3)


def check_affine(path: Path, affine: np.ndarray) -> np.ndarray:
    """The affine as float64; refuses NaN and a matrix that flattens space."""
    affine = np.asarray(affine, dtype=np.float64)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (lengths <= 0).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-4:
        raise ImageFileError(path, f"affine must be finite and invertible, got {affine.tolist()}; repair the header.")
    return affine


def check_finite(path: Path, array: np.ndarray) -> None:
    """Refuse NaN and infinite voxels."""
    if array.dtype.kind != "f":
        return
    parts = np.moveaxis(array, int(np.argmax(array.strides)), 0)  # one by one, so that no second volume is needed
    bad = sum(part.size - int(np.count_nonzero(np.isfinite(part))) for part in parts)
    if bad:
        raise ImageFileError(path, f"voxels must be finite, got {bad} NaN or infinite; replace them first.")


def check_same_geometry(image: LoadedImage, label: LoadedImage, tolerance_mm: float = GEOMETRY_TOLERANCE) -> None:
    """Refuse a label whose shape or affine is not its image's.

    Raises:
        ImageFileError: shapes differ, or affines differ by more than `tolerance_mm`.
    """
    if image.spatial_shape != label.spatial_shape:
        problem = f"label must have the shape of {image.path}, {image.spatial_shape}, got {label.spatial_shape}"
        raise ImageFileError(label.path, f"{problem}; resample it with nearest neighbours.")
    if image.affine is None or label.affine is None:
        return
    difference = float(np.abs(image.affine - label.affine).max())
    if difference > tolerance_mm:
        problem = f"label must have the affine of {image.path}, got one that differs by {difference:.4g}"
        raise ImageFileError(label.path, f"{problem}; resample the label onto the image, or repair its header.")
