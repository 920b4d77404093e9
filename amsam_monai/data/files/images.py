"""Reading images, volumes and labels from whatever a hospital or a benchmark hands out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from amsam_monai.data.files.dicom import is_dicom_file, is_dicom_folder, read_dicom_file, read_dicom_series
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage, check_finite, check_same_geometry
from amsam_monai.data.files.readers import LABEL_KEYS, read_arrays, read_itk, read_nifti, read_picture
from amsam_monai.data.files.writers import label_suffix, write_label, write_probabilities

__all__ = [
    "ImageFileError",
    "LoadedImage",
    "check_same_geometry",
    "format_of",
    "label_suffix",
    "list_inputs",
    "read_image",
    "read_label",
    "stem_of",
    "write_label",
    "write_probabilities",
]

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


def read_image(path: str | Path, *, key: str | None = None, series: str | None = None) -> LoadedImage:
    """An image or volume with its geometry.

    Args:
        path: NIfTI, NRRD, MetaImage, PNG, JPG, TIF, npz or h5 file, or the folder of a DICOM series.
        key: name of the array in an npz or h5 file.
        series: series instance UID, where a DICOM folder holds several.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: the file is empty, truncated, of another format, 4D, or holds NaN.
    """
    loaded = _read(Path(path), series, {"array": lambda file: read_arrays(file, key=key)})
    check_finite(loaded.path, loaded.array)
    return loaded


def read_label(path: str | Path, *, key: str | None = None) -> LoadedImage:
    """A label map, integer: palette pictures give their indices, whole numbers stored as floats become integers.

    Args:
        path: as in `read_image`.
        key: name of the array in an npz or h5 file.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: as in `read_image`, or the values are not whole numbers, or the picture is in colour.
    """
    readers: dict[str, Callable[[Path], LoadedImage]] = {
        "array": lambda file: read_arrays(file, key=key, keys=LABEL_KEYS),
        "picture": lambda file: read_picture(file, indices=True),
    }
    loaded = _read(Path(path), None, readers)
    check_finite(loaded.path, loaded.array)
    array = loaded.array
    if array.ndim == 3 and loaded.kind == "image":
        if (array != array[..., :1]).any():
            raise ImageFileError(path, "a label picture must be grey or have a palette, got colours; map them first.")
        array = array[..., 0]
    if array.dtype.kind == "f":
        whole = np.rint(array)
        if (np.abs(array - whole) > 1e-4).any():
            example = float(array[np.abs(array - whole) > 1e-4].flat[0])
            raise ImageFileError(path, f"labels must be whole numbers, got {example:.4g}; resample them with nearest.")
        array = whole.astype(np.int16 if np.abs(whole).max(initial=0) < 2**15 else np.int32)
    loaded.array = array
    return loaded


def _read(path: Path, series: str | None, readers: dict[str, Callable[[Path], LoadedImage]]) -> LoadedImage:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    if path.is_dir():
        if not is_dicom_folder(path):
            raise ImageFileError(path, "is a folder without DICOM files; give a file, or a DICOM series.")
        with naming_errors(path, "a DICOM series"):
            return read_dicom_series(path, series)
    if path.stat().st_size == 0:
        raise ImageFileError(path, "the file is empty (0 bytes); copy it again.")
    with open(path, "rb"):  # a missing permission speaks for itself here, not in a library's words
        family = format_of(path) or ("dicom" if is_dicom_file(path) else None)
    if family is None:
        known = " ".join(ending for endings in SUFFIXES.values() for ending in endings)
        raise ImageFileError(path, f"unknown ending; known are {known}, and folders of a DICOM series.")
    known_readers = {"nifti": read_nifti, "itk": read_itk, "dicom": read_dicom_file, "picture": read_picture, **readers}
    with naming_errors(path, family):
        return known_readers[family](path)


@contextmanager
def naming_errors(path: Path, family: str) -> Iterator[None]:
    """Turn what a library raises on a damaged file into one error that names the file."""
    try:
        yield
    except (ImageFileError, MemoryError):
        raise
    except Exception as error:  # libraries raise all kinds on damaged bytes: EOFError, zlib.error, RuntimeError ...
        if isinstance(error, ImportError) and error.name is None:  # ours: an optional package is missing
            raise  # not so a module that another library's patch of PIL looks for when it cannot read a picture
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].removeprefix("sitk::ERROR: ") if lines else type(error).__name__
        raise ImageFileError(
            path, f"cannot be read as {family} ({reason}); the file is damaged, truncated or of another format."
        ) from error


def list_inputs(folder: str | Path) -> list[Path]:
    """Files and DICOM series below a folder that `read_image` takes, sorted; links are followed, loops are not.

    Args:
        folder: the root; hidden files and folders are passed over.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder.")
    found: list[str] = []  # strings: a folder of 100 000 files is nothing unusual
    seen: set[str] = set()
    for here, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = [name for name in names if not name.startswith(".")]
        found += [os.path.join(here, name) for name in names if format_of(name) not in (None, "dicom")]
        rest = [name for name in names if format_of(name) in (None, "dicom")]
        if rest and is_dicom_folder(Path(here), rest):
            found.append(here)
    return [Path(name) for name in sorted(found)]
