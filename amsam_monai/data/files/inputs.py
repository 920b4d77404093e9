"""What of a folder can be read, and what may be an image and cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from amsam_monai.data.files.dicom.folders import inputs_of, looks_like_dicom
from amsam_monai.data.files.dicom.headers import is_dicom_file
from amsam_monai.data.files.formats import format_of

# Images that nothing here reads: a run over a folder lists them as failed, so that none goes missing in silence.
UNREAD = (
    *(".gif", ".webp", ".jp2", ".j2k", ".heic", ".hdr", ".img", ".mgz", ".mgh", ".mnc", ".npy", ".mat", ".rec"),
    *(".svs", ".ndpi", ".mrxs", ".scn", ".vsi", ".czi", ".lif", ".nd2", ".gipl", ".vtk", ".vti"),
    *(".nii.bz2", ".nii.xz", ".nii.zst", ".dcm.gz"),
)


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
    for here, names in walk(root):
        found += [os.path.join(here, name) for name in names if format_of(name) not in (None, "dicom")]
        rest = [name for name in names if format_of(name) in (None, "dicom")]
        found += map(str, inputs_of(Path(here), rest)) if rest else []
    return [Path(name) for name in sorted(found)]


def list_unread(folder: str | Path) -> list[Path]:
    """Files below a folder that may be images and that `read_image` does not take, sorted.

    They end as images of other programs do, or have no ending, no text in them, and are not DICOM.
    """
    found = [os.path.join(here, name) for here, names in walk(folder) for name in names if may_be_image(here, name)]
    return [Path(name) for name in sorted(found)]


def may_be_image(here: str, name: str) -> bool:
    """Whether an unread file can be an image."""
    if name.lower().endswith(UNREAD):
        return True
    if format_of(name) is not None or not looks_like_dicom(name):
        return False
    path = Path(here, name)
    if is_dicom_file(path):  # in `list_inputs` already
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(1024)
    except OSError:
        return True
    return not start or b"\0" in start


def outside(paths: Sequence[Path], folders: Sequence[Path]) -> list[Path]:
    """Paths of inputs that lie in none of `folders`, such as those of earlier results."""
    excluded = {folder.resolve() for folder in folders}
    real = {one: one.resolve() for path in paths for one in (path.parent, path) if one.is_dir()}
    inside = {one for one, at in real.items() if excluded & {at, *at.parents}}
    return [path for path in paths if not {path, path.parent} & inside]


def walk(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Folders below one, itself first, with the names of their files; hidden ones and loops of links left out."""
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield here, [name for name in names if not name.startswith(".")]
