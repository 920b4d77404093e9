"""NRRD and MetaImage before a library opens them: where their voxels lie, and whether they are whole."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from amsam_monai.data.files.limits import check_rest
from amsam_monai.data.files.loaded_image import ImageFileError

HEADER_BYTES = 1 << 20
PIECE = 1 << 20


@dataclass(frozen=True)
class Voxels:
    """Where a header says its voxels lie.

    Args:
        files: names of data files; none where the voxels follow the header.
        start: first byte of the voxels in the file itself.
        compressed: whether they are deflated, zlib's or gzip's way.
    """

    files: tuple[str, ...]
    start: int
    compressed: bool


def check_itk_file(path: Path, *, alone: bool = False) -> Voxels:
    """Refuse a header that points out of its folder; gives where its voxels lie.

    Args:
        path: NRRD or MetaImage.
        alone: refuse data files beside the header too, as for what a stranger sends.

    Raises:
        ImageFileError: such a file, named.
    """
    with open(path, "rb") as file:
        start = file.read(HEADER_BYTES)
    voxels = nrrd_voxels(start) if start[:4] == b"NRRD" else meta_voxels(start)
    for name in voxels.files:
        check_beside(path, name, alone)
    return voxels


def check_packed(path: Path, voxels: Voxels, most: int) -> None:
    """Refuse compressed voxels that are damaged, or far more than `most` bytes.

    Raises:
        ImageFileError: such a file, named.
    """
    if voxels.compressed:
        for file_name in [path.parent / name for name in voxels.files] or [path]:
            if file_name.is_file():
                check_deflated(path, file_name, 0 if voxels.files else voxels.start, most)


def check_beside(path: Path, name: str, alone: bool) -> None:
    """Refuse a data file that is absolute, climbs out of the header's folder, or is linked from elsewhere."""
    if alone:
        raise ImageFileError(path, f"must hold its voxels itself, points to {name}; send one whole file.")
    plain = name.replace("\\", "/")
    folder = os.path.realpath(path.parent)
    out = plain.startswith(("/", "~")) or plain[1:2] == ":" or ".." in plain.split("/")
    if out or not os.path.realpath(os.path.join(folder, plain)).startswith(os.path.join(folder, "")):
        raise ImageFileError(path, f"its voxels must lie in it or beside it, it points to {name}; put them together.")


def nrrd_voxels(start: bytes) -> Voxels:
    """Of a NRRD header, which ends with an empty line."""
    ends = [place + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if (place := start.find(mark)) >= 0]
    end = min(ends, default=len(start))
    fields, lines = {}, start[:end].decode("utf-8", "replace").splitlines()
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and not value.startswith("="):
            fields[name.strip().casefold().replace(" ", "")] = value.strip()
    data = fields.get("datafile", "")
    if data.casefold().startswith("list"):
        place = next(n for n, line in enumerate(lines) if line.casefold().replace(" ", "").startswith("datafile:"))
        rest = start.decode("utf-8", "replace").splitlines()[place + 1 :]
        files = tuple(line.strip() for line in rest if line.strip())
    else:
        files = named(data)
    packed = fields.get("encoding", "").casefold() in ("gzip", "gz")
    skips = any(fields.get(name, "0") != "0" for name in ("byteskip", "lineskip"))
    return Voxels(files, end, packed and not skips)


def meta_voxels(start: bytes) -> Voxels:
    """Of a MetaImage header, whose last field is ElementDataFile."""
    place, packed = 0, False
    while (end := start.find(b"\n", place)) >= 0:
        name, _, value = start[place:end].decode("utf-8", "replace").partition("=")
        name, value, place = name.strip().casefold(), value.strip(), end + 1
        if name == "compresseddata":
            packed = value.casefold() == "true"
        if name == "elementdatafile":
            if value.casefold() == "local":
                return Voxels((), place, packed)
            rest = start[place:].decode("utf-8", "replace").splitlines()
            listed = tuple(line.strip() for line in rest if line.strip())
            return Voxels(listed if value.casefold().startswith("list") else named(value), place, packed)
    return Voxels((), len(start), False)


def named(value: str) -> tuple[str, ...]:
    """The data file of a field; of a pattern with numbers the pattern itself."""
    return () if not value else (value.split()[0] if "%" in value else value,)


def check_deflated(path: Path, file_name: Path, start: int, most: int) -> None:
    """Refuse a deflated stream whose checksum is wrong, or that ends too early or late; libraries do not tell."""
    unpacked, stream = 0, zlib.decompressobj(wbits=47)  # zlib's or gzip's head, whichever is there
    with open(file_name, "rb") as file:
        file.seek(start)
        try:
            while not stream.eof and (piece := file.read(PIECE)):
                while piece and not stream.eof:
                    unpacked += len(stream.decompress(piece, PIECE))
                    check_rest(path, unpacked - most)
                    piece = stream.unconsumed_tail
        except zlib.error as error:
            raise ImageFileError(path, f"its compressed voxels are damaged ({error}); copy it again.") from error
    if not stream.eof:
        raise ImageFileError(path, "its compressed voxels end too early; copy it again.")
