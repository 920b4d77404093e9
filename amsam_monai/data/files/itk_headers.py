"""NRRD and MetaImage before a library opens them: where their voxels lie, and whether they are whole.

What is asked of a header is narrower than what the libraries take, so that no spelling says one thing here and another
there.
"""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from amsam_monai.data.files.limits import check_rest
from amsam_monai.data.files.loaded_image import ImageFileError

HEADER_BYTES = 1 << 20
PIECE = 1 << 20
LAST_FIELD = b"ElementDataFile"  # of a MetaImage header
LAST_LINE = re.compile(rb"^ElementDataFile[ \t]*=[ \t]*([^\s=:][^\r\n]*?)[ \t]*\r?$", re.MULTILINE)
LISTED = re.compile(r"LIST(\s+\d+)?\s*", re.IGNORECASE)
NUMBERED = re.compile(r"[^%]*%0?\d{0,2}[du][^%]*")


@dataclass(frozen=True)
class Voxels:
    """Where a header says its voxels lie.

    Args:
        reader: ITK's name of what reads the file, whatever its own name is.
        files: names of data files; none where the voxels follow the header.
        start: first byte of the voxels in the file itself.
        compressed: whether they are deflated, zlib's or gzip's way.
    """

    reader: str
    files: tuple[str, ...]
    start: int
    compressed: bool


def check_itk_file(path: Path, *, alone: bool = False) -> Voxels:
    """Refuse a header that points out of its folder; gives where its voxels lie.

    Args:
        path: NRRD or MetaImage.
        alone: refuse data files beside the header too, as for what a stranger sends.

    Raises:
        ImageFileError: such a file, or one whose header is neither's, named.
    """
    with open(path, "rb") as file:
        start = file.read(HEADER_BYTES)
    voxels = (nrrd_voxels if start[:4] == b"NRRD" else meta_voxels)(path, start)
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
    """Refuse a data file that is absolute, climbs out of the header's folder, is linked from elsewhere or missing."""
    if alone:
        raise ImageFileError(path, f"must hold its voxels itself, points to {name}; send one whole file.")
    plain = name.replace("\\", "/")
    folder = os.path.realpath(path.parent)
    if "%" in plain and not NUMBERED.fullmatch(plain):
        raise ImageFileError(path, f"a pattern of data files must have one number, such as %03d, got {name}.")
    out = plain.startswith(("/", "~")) or plain[1:2] == ":" or ".." in plain.split("/")
    there = [] if out else [Path(folder, plain)] if "%" not in plain else numbered(Path(folder), plain)
    if out or any(not os.path.realpath(one).startswith(os.path.join(folder, "")) for one in there):
        raise ImageFileError(path, f"its voxels must lie in it or beside it, it points to {name}; put them together.")
    if not any(one.is_file() for one in there):
        raise ImageFileError(path, f"points to {name} for its voxels, which is not there; put it beside.")


def numbered(folder: Path, pattern: str) -> list[Path]:
    """Files that a pattern such as slice%03d.raw could mean."""
    start, end = (re.escape(part) for part in re.split("%0?[0-9]{0,2}[du]", pattern))
    meant = re.compile(start + r"\s*[+-]?\d+" + end)
    found = (Path(here, name) for here, _, names in os.walk(folder, followlinks=True) for name in names)
    return [path for path in found if meant.fullmatch(path.relative_to(folder).as_posix())]


def nrrd_voxels(path: Path, start: bytes) -> Voxels:
    """Of a NRRD header, which ends with an empty line, or with the file where its voxels lie beside it."""
    end = re.search(rb"\n\r?\n", start)
    if end is None and len(start) == HEADER_BYTES:
        raise ImageFileError(path, f"its header must end within {HEADER_BYTES} bytes; is it a NRRD file?")
    header = start[: len(start) if end is None else end.end()].replace(b"\r\n", b"\n")
    if b"\r" in header or b"\0" in header:
        raise ImageFileError(path, "its header must be lines of plain text; write it again.")
    fields: dict[str, list[str]] = {}
    for line in header.decode("utf-8", "replace").split("\n"):
        name, colon, value = line.partition(":")
        if colon and not value.startswith("="):
            fields.setdefault(name.strip().casefold().replace(" ", ""), []).append(value.strip())
    data = fields.get("datafile", [])
    if len(data) > 1:
        raise ImageFileError(path, f"its header must name its data file once, got {', '.join(data)}.")
    packed = any(value.casefold() in ("gzip", "gz") for value in fields.get("encoding", []))
    skips = any(value != "0" for name in ("byteskip", "lineskip") for value in fields.get(name, []))
    rest = re.sub(rb"(?is)^.*?\n\s*data ?file\s*:[^\n]*\n?", b"", start, count=1)
    files = data_files(path, data[0], rest, len(start)) if data else ()
    return Voxels("NrrdImageIO", files, end.end() if end else len(start), packed and not skips)


def meta_voxels(path: Path, start: bytes) -> Voxels:
    """Of a MetaImage header, whose last field is ElementDataFile, in lines of KEY = VALUE."""
    last = LAST_LINE.search(start)
    if last is None or count_of(LAST_FIELD, path) != 1:
        problem = f"its header must end with one line ElementDataFile = NAME, within {HEADER_BYTES} bytes"
        raise ImageFileError(path, f"{problem}; is it a MetaImage file?")
    packed = re.search(rb"^\s*CompressedData\s*[=:]\s*[Tt1]", start[: last.start()], re.MULTILINE) is not None
    value, place = last[1].decode("utf-8", "replace"), last.end() + 1
    local = value in ("LOCAL", "Local", "local")
    files = () if local else data_files(path, value, start[place:], len(start))
    return Voxels("MetaImageIO", files, place, packed)


def data_files(path: Path, value: str, rest: bytes, read: int) -> tuple[str, ...]:
    """Names of data files: that of a header's field, a pattern, or, where it says LIST, those in the lines behind it.

    Args:
        path: the header's file.
        value: of the field.
        rest: what comes behind it.
        read: bytes of the file that were looked at.
    """
    if any(ord(letter) < 32 for letter in value):
        raise ImageFileError(path, "the name of its data file must be plain text.")
    if value.casefold().startswith("list"):
        if read == HEADER_BYTES:
            raise ImageFileError(path, f"its list of data files must end within {HEADER_BYTES} bytes.")
        names = [line.strip() for line in rest.decode("utf-8", "replace").splitlines() if line.strip()]
        return (*([] if LISTED.fullmatch(value) else [value]), *names)
    return () if not value else (value.split()[0] if "%" in value else value,)


def count_of(word: bytes, path: Path) -> int:
    """How often a file has a word."""
    found, rest = 0, b""
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            piece = rest + piece
            found += piece.count(word)
            rest = piece[len(piece) - len(word) + 1 :]
    return found


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
