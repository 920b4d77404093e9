"""A picture of a data set at a glance: cases with the outlines of their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from amsam_monai.data.datasets.reading import ReadCase
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.loaded_image import LoadedImage
from amsam_monai.data.files.palette import class_colours

TILE, CAPTION, HEADER, GAP, COLUMNS = 240, 18, 50, 6, 6
HU_WINDOW = (-125.0, 275.0)


@dataclass
class Tile:
    """One case of a contact sheet: a small colour picture and a line below it."""

    picture: np.ndarray  # (H, W, 3)
    caption: str


def make_tile(case: ReadCase, caption: str, size: int = TILE) -> Tile:
    """A case at most `size` pixels wide and high, its label outlined; of a volume the slice with most labels."""
    image, label, aspect = case.image.array, case.label.array, 1.0
    if case.image.kind == "volume":
        axis, place = telling_slice(label, case.image)
        image, aspect = upright(image.take(place, axis), case.image, axis)
        label, _ = upright(label.take(place, axis), case.image, axis)
        caption = f"{caption} [{place}]"
    height, width = label.shape[0] * aspect, label.shape[1]
    scale = size / max(height, width)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    grey = to_bytes(image, case.image.array if case.image.kind == "volume" else image)
    small = np.array(
        Image.fromarray(grey).convert("RGB").resize((wide, high), Image.Resampling.BILINEAR, reducing_gap=3)
    )
    shrunk = np.array(Image.fromarray(label.astype(np.uint8)).resize((wide, high), Image.Resampling.NEAREST))
    return Tile(draw_outlines(small, shrunk), caption)


def telling_slice(label: np.ndarray, volume: LoadedImage) -> tuple[int, int]:
    """Axis with the thickest spacing (the last where that is unknown), and the slice with most labels along it."""
    spacing = volume.spacing_mm or (1.0, 1.0, 1.0)
    axis = max(range(3), key=lambda one: (round(spacing[one], 3), one))
    planes = np.moveaxis(label, axis, 0)
    places = np.unique(np.flatnonzero((planes > 0).any(axis=(1, 2))))
    if len(places) == 0:
        return axis, label.shape[axis] // 2
    kinds = [(len(np.unique(planes[place])), int(np.count_nonzero(planes[place]))) for place in places]
    return axis, int(places[max(range(len(places)), key=lambda one: kinds[one])])


def upright(plane: np.ndarray, volume: LoadedImage, axis: int) -> tuple[np.ndarray, float]:
    """A slice as a radiologist sees it, as far as the header tells, and the height of a pixel over its width.

    Right and back are on the left, front and head at the top; without geometry the first axis runs to the right.

    Shape: (A, B) -> (rows, columns)
    """
    import nibabel as nib

    kept = [one for one in range(3) if one != axis]
    if volume.affine is None or volume.spacing_mm is None:
        return plane.T, 1.0
    world = nib.io_orientation(volume.affine)  # (3, 2): world axis and direction of each voxel axis
    spacing = [volume.spacing_mm[one] for one in kept]
    for place, one in enumerate(kept):
        if world[one, 1] > 0:  # on screen, world coordinates fall to the right and downwards
            plane = np.flip(plane, place)
    if world[kept[0], 0] < world[kept[1], 0]:  # the first axis runs across
        return plane.T, spacing[1] / spacing[0]
    return plane, spacing[0] / spacing[1]


def to_bytes(plane: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Values as 0..255: pictures by their depth, CT in the abdominal window, others between two percentiles.

    Args:
        plane: what is shown.
        whole: the image or volume that it is from.
    """
    if plane.dtype == np.uint8:
        return np.ascontiguousarray(plane)
    if plane.dtype == np.uint16 and plane.ndim == 3:
        return (plane // 257).astype(np.uint8)
    thin = whole[tuple(slice(None, None, max(1, n // 64)) for n in whole.shape)]
    low, high = HU_WINDOW if float(thin.min()) < -200 else np.percentile(thin, (1, 99.5))
    scaled = (plane.astype(np.float32) - low) / max(float(high - low), 1e-6)
    return (scaled.clip(0, 1) * 255).astype(np.uint8)


def draw_outlines(picture: np.ndarray, label: np.ndarray) -> np.ndarray:
    """A colour picture with the border of every class drawn just inside it.

    Shape: (H, W, 3), (H, W) -> (H, W, 3)
    """
    padded = np.pad(label, 1, constant_values=0)
    inner = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    border = (inner > 0) & np.any([inner != one for one in neighbours], axis=0)
    drawn = picture.copy()
    drawn[border] = class_colours()[label[border]]
    return drawn


def write_contact_sheet(path: str | Path, tiles: Sequence[Tile], title: str, labels: Mapping[int, str]) -> Path:
    """Write tiles in rows below a title and a legend of the labels' colours.

    Args:
        path: PNG file.
        tiles: of `make_tile`.
        title: first line.
        labels: ids to names.
    """
    columns = min(COLUMNS, max(1, len(tiles)))
    rows = -(-len(tiles) // columns)
    width = max(columns * (TILE + GAP) + GAP, 3 * TILE)
    sheet = Image.new("RGB", (width, HEADER + rows * (TILE + CAPTION + GAP)), (24, 24, 24))
    pen, font = ImageDraw.Draw(sheet), sheet_font(13)
    pen.text((GAP, 5), title, (255, 255, 255), sheet_font(15))
    _legend(pen, labels, font, width)
    for number, tile in enumerate(tiles):
        x = GAP + number % columns * (TILE + GAP)
        y = HEADER + number // columns * (TILE + CAPTION + GAP)
        high, wide = tile.picture.shape[:2]
        sheet.paste(Image.fromarray(tile.picture), (x + (TILE - wide) // 2, y + (TILE - high) // 2))
        pen.text((x, y + TILE + 1), shortened(tile.caption, 32), (200, 200, 200), font)
    with whole_file(path) as partial:
        sheet.save(partial)
    return Path(path)


def _legend(pen: ImageDraw.ImageDraw, labels: Mapping[int, str], font: ImageFont.FreeTypeFont, width: int) -> None:
    x = GAP
    for value, name in labels.items():
        if x + 24 + font.getlength(name) > width:
            pen.text((x, 26), "...", (255, 255, 255), font)
            return
        pen.rectangle((x, 29, x + 11, 40), fill=tuple(class_colours()[value]))
        pen.text((x + 16, 26), name, (255, 255, 255), font)
        x += 32 + int(font.getlength(name))


def sheet_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings and which knows most alphabets."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def shortened(text: str, length: int) -> str:
    """The text with its middle left out where it is too long."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2 - 1]}…{text[-(length // 2) :]}"
