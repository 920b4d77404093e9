"""Label maps as files that a client asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.files.images import LoadedImage, label_suffix, write_label

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class ResultFormat:
    """How a client wants a label map.

    Args:
        extension: one of SUFFIXES; by default .png for a picture, .nii.gz otherwise.
        dtype: voxel type of a volume, 16 bits where a value does not fit; OHIF reads its bytes as they come and draws
            what is no uint8 as noise.
        compress: whether .nrrd and .mha are compressed; OHIF's reader takes raw ones only.
    """

    extension: str = ""
    dtype: str = "uint8"
    compress: bool = True

    @classmethod
    def of_request(cls, request: Mapping[str, Any]) -> ResultFormat:
        """From `result_extension`, `result_dtype` and `result_compress`.

        Raises:
            ValueError: an ending or a type that is none.
        """
        extension = str(request.get("result_extension") or "").lower()
        extension = f".{extension}" if extension and not extension.startswith(".") else extension
        extension = ".nrrd" if extension == ".seg.nrrd" else extension
        if extension and extension not in SUFFIXES:
            raise ValueError(f"result_extension must be one of {' '.join(SUFFIXES)}, got {extension[:40]!r}.")
        dtype = str(request.get("result_dtype") or "uint8").lower()
        if dtype not in DTYPES:
            raise ValueError(f"result_dtype must be one of {', '.join(DTYPES)}, got {dtype[:40]!r}.")
        compress = request.get("result_compress", True)
        return cls(extension, dtype, str(compress).lower() not in ("false", "0", "no"))


def write_result(
    label: np.ndarray, source: LoadedImage, labels: Mapping[int, str], form: ResultFormat | None = None
) -> Path:
    """Write a label map into a temporary file of its own, in the geometry of its image.

    Args:
        label: class indices, or the values that stand for them.
        source: the image.
        labels: names by value.
        form: what the client asks for.
    """
    form = form or ResultFormat()
    suffix = form.extension or label_suffix(source).replace(".dcm", ".nii.gz")
    handle, name = tempfile.mkstemp(prefix="amsam-label-", suffix=suffix)
    os.close(handle)
    path, dtype = Path(name), wide_enough(np.dtype(form.dtype), label)
    if source.kind == "image" and suffix not in (".png", ".tif"):
        return write_flat(path, label.astype(dtype), compress=form.compress)
    return write_label(path, label, source, labels, dtype=dtype, compress=form.compress)


def wide_enough(dtype: np.dtype, label: np.ndarray) -> np.dtype:
    """The voxel type that a client asks for, or 16 bits where a value does not fit into it."""
    if dtype.kind in "iu" and int(label.max(initial=0)) > np.iinfo(dtype).max:
        return np.dtype(np.uint16)
    return dtype


def write_flat(path: Path, label: np.ndarray, *, compress: bool = True) -> Path:
    """A picture's label map in a volume format, as ITK reads pictures: index (column, row), spacing 1."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(label))
    sitk.WriteImage(image, str(path), useCompression=compress and path.suffix in (".nrrd", ".mha"))
    return path
