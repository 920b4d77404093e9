"""Pictures: PNG, JPG, TIF and BMP in their own depth, upright, within a size limit."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.files.limits import check_pixels
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage
from amsam_monai.data.files.readers import colour_from_itk, native

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # others may start programs (EPS) or are no pictures
ORIENTATION = 274  # EXIF's tag
UPRIGHT = "turned upright by its EXIF orientation"
OPENING = threading.Lock()


def read_picture(path: Path, *, indices: bool = False, max_pixels: int | None = None) -> LoadedImage:
    """A picture as (H, W) or (H, W, 3) in its own depth; several grey pages of one size become a volume.

    A picture with an EXIF orientation comes as people see it, and `notes` say so.

    Args:
        path: the file.
        indices: give a palette's indices, as a label wants, instead of its colours.
        max_pixels: see `check_pixels`.

    Raises:
        ImageFileError: of another format than its ending says, too large, or pages in colour.
    """
    with opened(path) as picture:
        check_pixels(path, picture.size, max_pixels)
        pages, turn = int(getattr(picture, "n_frames", 1)), int(picture.getexif().get(ORIENTATION, 1) or 1)
        bits = declared_bits(path, picture)
        if picture.format == "PNG":
            check_png(path)
        if deep_colour(path, picture):
            first = turned(read_deep_colour(path, picture.format), turn)
            return picture_of(first, path, turn, bits)
        frames = [page(picture, indices, turn)]
        if pages > 1 and path.suffix.lower() in (".tif", ".tiff"):
            for number in range(1, pages):
                picture.seek(number)
                check_pixels(path, (*picture.size, pages), max_pixels)
                frames.append(page(picture, indices, int(picture.getexif().get(ORIENTATION, 1) or 1)))
    frames = [frame for frame in frames if frame.shape == frames[0].shape]  # thumbnails of the first page are left out
    if len(frames) == 1:
        return picture_of(frames[0], path, turn, bits)
    if frames[0].ndim > 2:
        raise ImageFileError(path, f"pages must be grey to form a volume, got {pages} in colour; split the file.")
    return LoadedImage(np.stack(frames, axis=-1), "volume", path, "picture")


def picture_of(array: np.ndarray, path: Path, turn: int, bits: int | None) -> LoadedImage:
    """One page as a loaded image."""
    return LoadedImage(array, "image", path, "picture", bits=bits, notes=[UPRIGHT] if turn in TURNS else [])


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Pillow's picture, of an allowed format; its size is checked here and not by Pillow, whose limit is global."""
    from PIL import Image, UnidentifiedImageError

    with OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            picture = Image.open(path, formats=FORMATS)
        except (
            UnidentifiedImageError,
            ModuleNotFoundError,
        ) as error:  # the latter where Ultralytics put its own open in
            problem = f"is damaged, or no picture of the formats {', '.join(FORMATS)}; convert it"
            raise ImageFileError(path, f"cannot be read as picture: it {problem}.") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with picture:
        yield picture


def page(picture: Any, indices: bool, turn: int) -> np.ndarray:
    """Pixels of the present page, upright; Pillow turns TIF pages itself."""
    return turned(pixels(picture, indices), 1 if picture.format == "TIFF" else turn)


# EXIF orientation -> (swap rows and columns, then flip rows, flip columns)
TURNS: dict[int, tuple[bool, bool, bool]] = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def turned(array: np.ndarray, turn: int) -> np.ndarray:
    """Stored pixels as an EXIF orientation, 1 to 8, means them to be seen."""
    if turn not in TURNS:
        return array
    swap, rows, columns = TURNS[turn]
    array = array.swapaxes(0, 1) if swap else array
    return np.ascontiguousarray(array[:: -1 if rows else 1, :: -1 if columns else 1])


def pixels(picture: Any, indices: bool) -> np.ndarray:
    """Pixels of one page: grey stays grey, transparency is dropped, palettes and CMYK become RGB."""
    mode = picture.mode
    if mode in ("P", "PA"):
        return np.array(picture) if indices and mode == "P" else np.array(picture.convert("RGB"))
    if mode == "1":
        return np.array(picture, dtype=np.uint8) if indices else np.array(picture.convert("L"))
    if mode in ("L", "I", "F") or mode.startswith("I;16"):
        return native(np.array(picture))
    return np.array(picture.convert("L" if mode in ("LA", "La") else "RGB"))


def deep_colour(path: Path, picture: Any) -> bool:
    """Whether this is 16-bit colour, which Pillow would cut to 8 bits."""
    if picture.format == "PNG":
        with open(path, "rb") as file:
            depth, colour = struct.unpack(">BB", file.read(26)[24:26])
        return depth == 16 and colour in (2, 6)
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(258, (8,))
        return len(bits) > 2 and max(bits) > 8
    return False


def read_deep_colour(path: Path, form: str) -> np.ndarray:
    """A picture with 16 bits per colour, alpha dropped. Shape (H, W, 3)."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(path), imageIO=f"{form}ImageIO")
    return colour_from_itk(sitk.GetArrayFromImage(image), path, "picture").array


def check_png(path: Path) -> None:
    """Refuse a PNG with a chunk whose checksum is wrong, which Pillow decodes without a word."""
    size = path.stat().st_size  # a length may say anything, and is allocated
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            content, check = file.read(min(length, size)), file.read(4)
            if len(check) == 4 and struct.unpack(">I", check)[0] != zlib.crc32(name + content):
                raise ImageFileError(path, f"its part {name.decode('latin-1')} is damaged; copy it again.")


def declared_bits(path: Path, picture: Any) -> int | None:
    """How many bits a file says its values have: PNG's sBIT, TIF's greatest sample value; None where it does not."""
    if picture.format == "TIFF":
        greatest = picture.tag_v2.get(281)
        greatest = max(greatest) if isinstance(greatest, tuple) else greatest
        return int(greatest).bit_length() if greatest else None
    if picture.format != "PNG":
        return None
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"sBIT":
                return max(file.read(min(length, 3)), default=0) or None
            if name == b"IDAT":
                return None
            file.seek(length + 4, 1)
    return None
