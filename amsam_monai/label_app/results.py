"""Label maps as files that a client asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from amsam_monai.data.files.images import LoadedImage, label_suffix, write_label

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif")


def write_result(
    label: np.ndarray, source: LoadedImage, labels: Mapping[int, str], extension: str | None = None
) -> Path:
    """Write a label map into a temporary file of its own, in the geometry of its image.

    Args:
        label: class indices.
        source: the image.
        labels: class names.
        extension: what the client asks for ("result_extension"); by default .png for a picture, .nii.gz otherwise.

    Raises:
        ValueError: an ending that is none of SUFFIXES.
    """
    suffix = (extension or "").lower() or label_suffix(source).replace(".dcm", ".nii.gz")
    suffix = suffix if suffix.startswith(".") else f".{suffix}"
    suffix = ".nrrd" if suffix == ".seg.nrrd" else suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"result_extension must be one of {' '.join(SUFFIXES)}, got {extension!r}.")
    handle, name = tempfile.mkstemp(prefix="amsam-label-", suffix=suffix)
    os.close(handle)
    path = Path(name)
    if source.kind == "image" and suffix not in (".png", ".tif"):
        return write_flat(path, label)
    return write_label(path, label, source, labels)


def write_flat(path: Path, label: np.ndarray) -> Path:
    """A picture's label map in a volume format, as ITK reads pictures: index (column, row), spacing 1."""
    import SimpleITK as sitk  # noqa: N813

    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(label, dtype=np.uint8)), str(path))
    return path
