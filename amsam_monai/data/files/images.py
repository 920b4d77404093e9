"""Reading images, volumes and labels from whatever a hospital or a benchmark hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from amsam_monai.data.files.arrays import LABEL_KEYS, read_arrays
from amsam_monai.data.files.dicom.folders import is_dicom_folder, is_meant_as_dicom, read_dicom_file, read_dicom_series
from amsam_monai.data.files.dicom.headers import is_dicom_file, is_dicom_segmentation
from amsam_monai.data.files.formats import SUFFIXES, format_of, stem_of
from amsam_monai.data.files.inputs import list_inputs
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage, check_finite, check_same_geometry
from amsam_monai.data.files.pictures import read_picture
from amsam_monai.data.files.readers import read_itk, read_nifti
from amsam_monai.data.files.seg_readers import read_dicom_seg, read_itk_label
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


def read_image(
    path: str | Path,
    *,
    key: str | None = None,
    series: str | None = None,
    phase: int | None = None,
    max_pixels: int | None = None,
    alone: bool = False,
) -> LoadedImage:
    """An image or volume with its geometry.

    Args:
        path: NIfTI, NRRD, MetaImage, PNG, JPG, TIF, npz or h5 file, or the folder of a DICOM series.
        key: name of the array in an npz or h5 file.
        series: series instance UID, where a DICOM folder holds several.
        phase: which of several DICOM images at each place (of a film: which frame), from 1.
        max_pixels: how large a picture or volume may be; MAX_PIXELS and MAX_VOXELS of `limits` by default.
        alone: refuse a header whose voxels lie in a file beside it; for what a stranger sends.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: the file is empty, truncated, of another format, 4D, or holds NaN.
    """
    readers: dict[str, Callable[[Path], LoadedImage]] = {
        "nifti": lambda file: read_nifti(file, max_pixels),
        "itk": lambda file: read_itk(file, max_pixels, alone=alone),
        "array": lambda file: read_arrays(file, key=key, max_voxels=max_pixels),
        "dicom": lambda file: read_dicom_file(file, phase, max_pixels),
        "series": lambda folder: read_dicom_series(folder, series, phase, max_pixels),
        "picture": lambda file: read_picture(file, max_pixels=max_pixels),
    }
    loaded = _read(Path(path), readers)
    check_finite(loaded.path, loaded.array)
    return loaded


def read_label(
    path: str | Path, *, key: str | None = None, labels: Mapping[int, str] | None = None, alone: bool = False
) -> LoadedImage:
    """A label map, integer: palette pictures give their indices, whole numbers stored as floats become integers.

    Files that name their classes (3D Slicer's .seg.nrrd, DICOM-SEG) are brought to `labels` by name and keep their
    `segments`; they may cover a part of the image, see `onto`.

    Args:
        path: as in `read_image`.
        key: name of the array in an npz or h5 file.
        labels: class indices to names; without it, such files keep their own numbers.
        alone: as in `read_image`.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: as in `read_image`, or the values are not whole numbers, the picture is in colour, or segments
            overlap or have names that `labels` lacks.
    """
    readers: dict[str, Callable[[Path], LoadedImage]] = {
        "array": lambda file: read_arrays(file, key=key, keys=LABEL_KEYS),
        "picture": lambda file: read_picture(file, indices=True),
        "itk": lambda file: read_itk_label(file, alone=alone),
        "dicom": lambda file: read_dicom_seg(file) if is_dicom_segmentation(file) else read_dicom_file(file),
    }
    loaded = _read(Path(path), readers)
    if loaded.segments is not None:
        loaded.array = loaded.segments.as_classes(loaded.path, labels)
        return loaded
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


def _read(path: Path, readers: dict[str, Callable[[Path], LoadedImage]]) -> LoadedImage:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    if path.is_dir():
        if not is_dicom_folder(path) and not any(is_meant_as_dicom(one) for one in path.iterdir() if one.is_file()):
            raise ImageFileError(path, "is a folder without DICOM files; give a file, or a DICOM series.")
        with naming_errors(path, "a DICOM series"):
            return readers.get("series", read_dicom_series)(path)
    if path.stat().st_size == 0:
        raise ImageFileError(path, "the file is empty (0 bytes); copy it again.")
    with open(path, "rb"):  # a missing permission speaks for itself here, not in a library's words
        family = format_of(path) or ("dicom" if is_dicom_file(path) else None)
    if family is None:
        known = " ".join(ending for endings in SUFFIXES.values() for ending in endings)
        raise ImageFileError(path, f"unknown ending; known are {known}, and folders of a DICOM series.")
    usual: dict[str, Callable[..., LoadedImage]] = {"nifti": read_nifti, "dicom": read_dicom_file}
    with naming_errors(path, family):
        return {**usual, **readers}[family](path)


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
