"""Which endings of file names are read, and what a case is called without them."""

from __future__ import annotations

import os
from pathlib import Path

SUFFIXES: dict[str, tuple[str, ...]] = {
    "nifti": (".nii", ".nii.gz"),
    "itk": (".nrrd", ".nhdr", ".mha", ".mhd"),
    "dicom": (".dcm", ".dicom", ".ima"),
    "picture": (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"),
    "array": (".npz", ".h5", ".hdf5"),
}

STEM_ENDINGS = (
    ".npy.h5",
    *sorted((ending for endings in SUFFIXES.values() for ending in endings), key=len, reverse=True),
)


def format_of(path: str | Path) -> str | None:
    """Family of formats by the name's ending ("nifti", "itk", "dicom", "picture", "array"), or None."""
    name = os.path.basename(path).lower()
    return next((family for family, endings in SUFFIXES.items() if name.endswith(endings)), None)


def stem_of(path: str | Path) -> str:
    """Name of a case: the file's name without its ending (.nii.gz and .npy.h5 count as one)."""
    name = os.path.basename(path)
    for ending in STEM_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name
