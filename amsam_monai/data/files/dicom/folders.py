"""DICOM in: a series of slices, a multi-frame file, a radiograph or photograph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from amsam_monai.data.files.dicom.headers import Header, is_dicom_file, read_header
from amsam_monai.data.files.dicom.pixels import PixelReader
from amsam_monai.data.files.dicom.stack import stack
from amsam_monai.data.files.limits import check_voxels
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage, check_affine
from amsam_monai.data.files.readers import LPS_TO_RAS, native

PROBED_FILES = 16  # a folder is judged by its first files, so that one with 100 000 pictures is judged at once
LISTED_SERIES = 8


@dataclass
class DicomFolder:
    """The files of a folder by what they are.

    Args:
        slices: by series instance UID.
        pictures: radiographs, photographs, films: each an image of its own.
        segmentations: label maps.
        others: what is no image, such as RTSTRUCT.
        damaged: what should be DICOM and cannot be read.
    """

    slices: dict[str, list[Header]] = field(default_factory=dict)
    pictures: list[Header] = field(default_factory=list)
    segmentations: list[Header] = field(default_factory=list)
    others: list[Header] = field(default_factory=list)
    damaged: list[ImageFileError] = field(default_factory=list)


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


def is_meant_as_dicom(path: Path) -> bool:
    """Whether the name or the bytes say DICOM."""
    return path.suffix.lower() in (".dcm", ".dicom", ".ima") or is_dicom_file(path)


def read_folder(folder: Path, names: Iterable[str] | None = None) -> DicomFolder:
    """Headers of a folder's DICOM files, in the order of their names; hidden files are passed over.

    Args:
        folder: holds the files itself, not in subfolders.
        names: files to look at; all by default.
    """
    found = DicomFolder()
    paths = [folder / name for name in names] if names is not None else list(folder.iterdir())
    for path in sorted(paths):
        if path.name.startswith(".") or path.name == "DICOMDIR" or not path.is_file() or not is_meant_as_dicom(path):
            continue
        try:
            header = read_header(path)
        except ImageFileError as error:
            found.damaged.append(error)
            continue
        if header.kind == "slices":
            found.slices.setdefault(header.series, []).append(header)
        else:
            groups = {"segmentation": found.segmentations, "other": found.others}
            groups.get(header.kind, found.pictures).append(header)
    return found


def inputs_of(folder: Path, names: Iterable[str]) -> list[Path]:
    """What of a folder's DICOM files are inputs: the folder for its slices, each picture, each lonely segmentation."""
    found = read_folder(folder, names)
    if found.slices or found.damaged:
        return [folder, *(header.path for header in found.pictures)]
    return [header.path for header in found.pictures or found.segmentations]


def read_dicom_file(path: Path, phase: int | None = None, max_voxels: int | None = None) -> LoadedImage:
    """A single DICOM file: one slice, a multi-frame volume, or a picture.

    Args:
        path: the file.
        phase: which frame of a film, or which of several images at each place, from 1.
        max_voxels: see `check_voxels`.
    """
    return read_headers(path, [read_header(path)], phase, max_voxels)


def read_dicom_series(
    folder: Path, series: str | None = None, phase: int | None = None, max_voxels: int | None = None
) -> LoadedImage:
    """The one series of a folder (or the one named), sorted by position; other objects beside it are passed over.

    Args:
        folder: holds the files of the series, itself, not in subfolders.
        series: series instance UID, where the folder holds several.
        phase: which of several images at each place, from 1.
        max_voxels: see `check_voxels`.

    Raises:
        ImageFileError: several series and none named, a damaged file, or slices that form no volume.
    """
    found = read_folder(folder)
    if found.damaged:
        raise found.damaged[0]
    groups = dict(found.slices)
    for header in found.pictures if series is not None or not groups else ():
        groups.setdefault(header.series, []).append(header)
    if not groups:
        held = ", ".join(sorted({header.what for header in found.segmentations + found.others})) or "nothing"
        raise ImageFileError(folder, f"must hold a DICOM series of images, got {held}; give the folder of the images.")
    if series is not None and series not in groups:
        raise ImageFileError(folder, f"series must be one of {series_words(groups)}, got {series}.")
    if series is None and len(groups) > 1 and not found.slices:
        raise ImageFileError(folder, f"must hold one image, got {len(found.pictures)} pictures; give them one by one.")
    if series is None and len(groups) > 1:
        problem = f"must hold one DICOM series, got {len(groups)} ({series_words(groups)})"
        raise ImageFileError(folder, f"{problem}; choose one with --series, or put each into a folder of its own.")
    chosen = groups[series] if series is not None else next(iter(groups.values()))
    return read_headers(folder, chosen, phase, max_voxels)


def series_words(groups: dict[str, list[Header]]) -> str:
    """UIDs of series with what they are."""
    words = []
    for uid, headers in list(groups.items())[:LISTED_SERIES]:
        about = f"{headers[0].description}, " if headers[0].description else ""
        words.append(f"{uid} [{about}{sum(len(header.frames) for header in headers)} slices]")
    return ", ".join(words) + (" ..." if len(groups) > LISTED_SERIES else "")


def read_headers(
    path: Path, headers: Sequence[Header], phase: int | None, max_voxels: int | None = None
) -> LoadedImage:
    """The image of one or several files of a series.

    Raises:
        ImageFileError: they are no image, or several.
    """
    first = headers[0]
    if first.kind == "segmentation":
        raise ImageFileError(path, "is a DICOM segmentation: a label and no image; give the image that it belongs to.")
    if not first.frames:
        raise ImageFileError(path, f"must be an image, got {first.what}; give the images that it belongs to.")
    check_voxels(path, (*first.frames[0].size, sum(len(header.frames) for header in headers)), max_voxels)
    if first.kind in ("picture", "film"):
        return read_dicom_picture(path, headers, phase)
    reader = PixelReader(headers)
    found = stack(path, [frame for header in headers for frame in header.frames], reader, phase)
    array = reader.volume(found)
    affine = None if found.affine is None else check_affine(path, LPS_TO_RAS @ found.affine)
    loaded = LoadedImage(array, "volume", path, "dicom", affine, found.spacing_mm)
    loaded.members = [frame.path for frame in found.frames]
    if len(headers) == 1:
        loaded.members, loaded.frames = [first.path], [frame.number for frame in found.frames]
    loaded.bits = first.bits if len({header.bits for header in headers}) == 1 else None
    loaded.notes = [*found.notes, *first.notes]
    return loaded


def read_dicom_picture(path: Path, headers: Sequence[Header], phase: int | None) -> LoadedImage:
    """A radiograph or photograph, or one frame of a film, rows first."""
    if len(headers) > 1:
        raise ImageFileError(path, f"must hold one image, got {len(headers)} pictures; give them one by one.")
    header, count = headers[0], len(headers[0].frames)
    if count > 1 and phase is None:
        raise ImageFileError(path, f"is a film of {count} frames: choose one with --phase, 1 to {count}.")
    if count > 1 and not 1 <= (phase or 0) <= count:
        raise ImageFileError(path, f"phase must lie in 1 to {count}, got {phase}.")
    number = (phase or 1) - 1 if count > 1 else 0
    array = native(PixelReader(headers)(header.frames[number]))
    if header.colour and array.shape[-1] not in (3, 4):
        raise ImageFileError(path, f"pixels must be grey or RGB, got an array {array.shape}; split its components.")
    notes = list(header.notes)
    if header.inverted is not None and not header.colour:  # SimpleITK turns them
        notes.append("the least value is shown white (MONOCHROME1): values were turned round")
    loaded = LoadedImage(np.ascontiguousarray(array[..., :3] if header.colour else array), "image", path, "dicom")
    loaded.members, loaded.frames, loaded.bits = [header.path], [number], header.bits
    loaded.notes = [*notes, *([f"a film of {count} frames: number {phase}"] if count > 1 else [])]
    return loaded
