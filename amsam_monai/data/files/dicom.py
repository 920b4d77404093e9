"""DICOM series in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage
from amsam_monai.data.files.readers import from_itk

PROBED_FILES = 16  # a folder is judged by its first files, so that one with 100 000 pictures is judged at once


def is_dicom_file(path: Path) -> bool:
    """Whether the file has DICOM's mark after its preamble."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_dicom_folder(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Whether one of the folder's first files is DICOM, those first whose names look like it."""
    if names is None:
        names = (entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    likely: list[str] = []
    others: list[str] = []
    for name in names:
        (likely if looks_like_dicom(name) else others).append(name)
    probes = likely[:PROBED_FILES] + others[:PROBED_FILES]
    return any(is_dicom_file(folder / name) for name in probes)


def looks_like_dicom(name: str) -> bool:
    """Whether a file's name is one that scanners and archives give: IM0001, 1.2.840.113, x.dcm, but not DICOMDIR."""
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    return name != "DICOMDIR" and (ending in ("", "dcm", "dicom", "ima") or ending.isdigit())


def read_dicom_file(path: Path) -> LoadedImage:
    """A single DICOM file: one slice, a multi-frame volume, or one colour picture."""
    import SimpleITK as sitk  # noqa: N813

    loaded = from_itk(sitk.ReadImage(str(path)), path, "dicom")
    loaded.members = [path]
    return loaded


def read_dicom_series(folder: Path, series: str | None = None) -> LoadedImage:
    """The one series of a folder (or the one named), sorted by position.

    Args:
        folder: holds the files of the series, itself, not in subfolders.
        series: series instance UID, where the folder holds several.

    Raises:
        ImageFileError: several series and none named, or slices are missing.
    """
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageSeriesReader()
    found = reader.GetGDCMSeriesIDs(str(folder))
    check_all_listed(folder, [name for one in found for name in reader.GetGDCMSeriesFileNames(str(folder), one)])
    if series is None and len(found) != 1:
        problem = f"must hold one DICOM series, got {len(found)} ({', '.join(found)})"
        raise ImageFileError(folder, f"{problem}; put each into a folder of its own, or name one.")
    if series is not None and series not in found:
        raise ImageFileError(folder, f"series must be one of {', '.join(found)}, got {series}.")
    files = reader.GetGDCMSeriesFileNames(str(folder), series or found[0])
    if len(files) == 1:
        loaded = read_dicom_file(Path(files[0]))
        loaded.path = folder
        return loaded
    check_gaps(folder, files)
    reader.SetFileNames(files)
    loaded = from_itk(reader.Execute(), folder, "dicom")
    loaded.members = [Path(name) for name in files]
    return loaded


def check_all_listed(folder: Path, listed: Iterable[str]) -> None:
    """Refuse a folder with a damaged file, which GDCM leaves out without a word."""
    known = {Path(name).name for name in listed}
    for path in sorted(folder.iterdir()):
        if path.name in known or path.name == "DICOMDIR" or not path.is_file():
            continue
        if path.suffix.lower() == ".dcm" or is_dicom_file(path):
            raise ImageFileError(path, "the file is damaged, truncated or empty; copy the series again.")


def check_gaps(folder: Path, files: Iterable[str]) -> None:
    """Refuse a series whose slices do not lie at equal distances, since one affine could not describe it."""
    import pydicom

    positions = []
    for name in files:
        header = pydicom.dcmread(name, specific_tags=["ImagePositionPatient"], stop_before_pixels=True)
        if "ImagePositionPatient" in header:
            positions.append([float(value) for value in header.ImagePositionPatient])
    if len(positions) < 3:
        return
    gaps = np.linalg.norm(np.diff(np.array(positions), axis=0), axis=1)
    if gaps.max() > 1.5 * gaps.min():
        problem = f"slices must lie at equal distances, got gaps from {gaps.min():.3g} to {gaps.max():.3g} mm"
        raise ImageFileError(folder, f"{problem}; slices are missing or doubled: fetch the series again.")
