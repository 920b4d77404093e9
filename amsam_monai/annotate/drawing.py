"""Pictures of a slice: grey values, masks, points and boxes, at the size of the screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from amsam_monai.data.files.palette import class_colours

XY = tuple[float, float]
BACKDROP = (17, 20, 26)
DASH = 6.0  # screen pixels of a dash of a lasso, and of what is between two
TAG = (22.0, 17.0)  # width and height of a box's number, in screen pixels


@dataclass(frozen=True)
class Mark:
    """A point to draw: pixel of the slice, class index, its sign, and whether the network chose it."""

    xy: XY
    index: int
    positive: bool
    automatic: bool


@dataclass(frozen=True)
class BoxMark:
    """A box to draw.

    Args:
        edges: x1, y1, x2, y2 in pixels of the slice.
        index: class.
        number: its number among the class's boxes; None shows none.
        chosen: whether keys are for it; its corners are shown.
    """

    edges: tuple[float, float, float, float]
    index: int
    number: int | None = None
    chosen: bool = False


@dataclass(frozen=True)
class Canvas:
    """How a slice (H, W) fills a square of the screen: scaled with its spacing, centred.

    Args:
        height: rows of the slice.
        width: columns of the slice.
        spacing: millimetres of (row, column); only their ratio counts.
        side: pixels of the square.
    """

    height: int
    width: int
    spacing: tuple[float, float] = (1.0, 1.0)
    side: int = 640

    @property
    def scale(self) -> XY:
        """Screen pixels per pixel of the slice, (x, y)."""
        tall, wide = self.height * self.spacing[0], self.width * self.spacing[1]
        unit = self.side / max(tall, wide)
        return unit * self.spacing[1], unit * self.spacing[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the slice on the screen."""
        x, y = self.scale
        return max(1, round(self.width * x)), max(1, round(self.height * y))

    @property
    def offset(self) -> tuple[int, int]:
        """Where the slice's top-left corner lies in the square."""
        return (self.side - self.size[0]) // 2, (self.side - self.size[1]) // 2

    def screen(self, x: float, y: float) -> XY:
        """Pixel of the slice -> place on the screen."""
        return self.offset[0] + (x + 0.5) * self.scale[0], self.offset[1] + (y + 0.5) * self.scale[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the slice."""
        return self.height, self.width

    def rectangle(self, edges: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Edges in pixels of the slice -> left, top, right and bottom on the screen."""
        x1, y1, x2, y2 = edges
        return *self.screen(x1 - 0.5, y1 - 0.5), *self.screen(x2 - 0.5, y2 - 0.5)

    def tag(self, edges: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Where the number of a box stands: on the middle of its upper edge, below it where there is no room above."""
        left, top, right, _ = self.rectangle(edges)
        middle, top = (left + right) / 2, top if top < TAG[1] else top - TAG[1]
        return middle - TAG[0] / 2, top, middle + TAG[0] / 2, top + TAG[1]

    def nearest(self, x: float, y: float) -> XY:
        """Place on the screen -> pixel of the slice, the nearest one of a place beside it."""
        px, py = (x - self.offset[0]) / self.scale[0] - 0.5, (y - self.offset[1]) / self.scale[1] - 0.5
        return min(max(px, 0.0), self.width - 1.0), min(max(py, 0.0), self.height - 1.0)

    def pixel(self, x: float, y: float) -> XY | None:
        """Place on the screen -> pixel of the slice; None beside the slice."""
        px, py = (x - self.offset[0]) / self.scale[0] - 0.5, (y - self.offset[1]) / self.scale[1] - 0.5
        inside = -0.5 <= px <= self.width - 0.5 and -0.5 <= py <= self.height - 0.5
        return self.nearest(x, y) if inside else None


def draw(
    pixels: np.ndarray,
    mask: np.ndarray,
    canvas: Canvas,
    *,
    opacity: float = 0.4,
    marks: Iterable[Mark] = (),
    boxes: Iterable[BoxMark] = (),
    outlines: Iterable[tuple[int, Sequence[XY]]] = (),
    cross: XY | None = None,
) -> np.ndarray:
    """A slice as the page shows it.

    Args:
        pixels: grey or RGB in [0, 1].
        mask: class indices.
        canvas: where it goes.
        opacity: of the masks; their outlines are always solid.
        marks: points.
        boxes: boxes, the chosen ones on top.
        outlines: lassos, each a class and pixels of the slice.
        cross: a place to mark with thin lines, in pixels of the slice.

    Shape: pixels (H, W) or (H, W, 3), mask (H, W) -> (side, side, 3), uint8.
    """
    grey = np.clip(pixels * 255, 0, 255).astype(np.uint8)
    image = Image.fromarray(grey).convert("RGB").resize(canvas.size, Image.Resampling.BICUBIC)
    labels = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(canvas.size, Image.Resampling.NEAREST))
    blended = blend(np.asarray(image), labels, opacity)
    square = Image.new("RGB", (canvas.side, canvas.side), BACKDROP)
    square.paste(Image.fromarray(blended), canvas.offset)
    pen = ImageDraw.Draw(square)
    if cross is not None:
        draw_cross(pen, canvas, cross)
    for index, outline in outlines:
        draw_outline(pen, [canvas.screen(*place) for place in outline], colour(index))
    for box in sorted(boxes, key=lambda one: one.chosen):
        draw_box(pen, canvas, box)
    for mark in marks:
        draw_mark(pen, canvas.screen(*mark.xy), mark)
    return np.asarray(square)


def blend(image: np.ndarray, labels: np.ndarray, opacity: float) -> np.ndarray:
    """Masks in their colours over an image, with solid outlines. Shape (h, w, 3), (h, w) -> (h, w, 3)."""
    colours = class_colours()[labels].astype(np.float32)
    shown = labels > 0
    edge = np.zeros_like(shown)
    for axis in (0, 1):
        step = np.diff(labels.astype(np.int16), axis=axis) != 0
        ahead, behind = [slice(None)] * 2, [slice(None)] * 2
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        edge[tuple(ahead)] |= step
        edge[tuple(behind)] |= step
    weight = np.where(shown & edge, 1.0, np.where(shown, opacity, 0.0))[..., None]
    return (image * (1 - weight) + colours * weight).astype(np.uint8)


def draw_mark(pen: ImageDraw.ImageDraw, place: XY, mark: Mark) -> None:
    """A person's point: a filled disc with + or -; the network's: a ring, with a bar through it where outside."""
    x, y = place
    if mark.automatic:
        pen.ellipse([x - 6, y - 6, x + 6, y + 6], outline=(0, 0, 0), width=4)
        ring = colour(mark.index) if mark.positive else (225, 60, 60)
        pen.ellipse([x - 5, y - 5, x + 5, y + 5], outline=ring, width=2)
        if not mark.positive:
            pen.line([x - 8, y, x + 8, y], fill=(0, 0, 0), width=4)
            pen.line([x - 8, y, x + 8, y], fill=ring, width=2)
        return
    pen.ellipse([x - 9, y - 9, x + 9, y + 9], fill=(255, 255, 255), outline=(0, 0, 0))
    pen.ellipse([x - 7, y - 7, x + 7, y + 7], fill=colour(mark.index) if mark.positive else (205, 40, 40))
    pen.line([x - 4, y, x + 4, y], fill=(255, 255, 255), width=2)
    if mark.positive:
        pen.line([x, y - 4, x, y + 4], fill=(255, 255, 255), width=2)


def draw_box(pen: ImageDraw.ImageDraw, canvas: Canvas, box: BoxMark) -> None:
    """A box with its number; a chosen one thicker, with corners to take hold of."""
    left, top, right, bottom = canvas.rectangle(box.edges)
    pen.rectangle([left, top, right, bottom], outline=colour(box.index), width=3 if box.chosen else 2)
    if box.chosen:
        for x, y in ((left, top), (right, top), (left, bottom), (right, bottom)):
            pen.rectangle([x - 5, y - 5, x + 5, y + 5], fill=(255, 255, 255), outline=colour(box.index), width=2)
    if box.number is not None:
        tag = canvas.tag(box.edges)
        pen.rectangle(tag, fill=(255, 255, 255) if box.chosen else colour(box.index), outline=(0, 0, 0))
        place = (tag[0] + tag[2]) / 2, (tag[1] + tag[3]) / 2
        pen.text(place, str(box.number), fill=(0, 0, 0), font=ImageFont.load_default(12), anchor="mm")


def draw_outline(pen: ImageDraw.ImageDraw, places: Sequence[XY], ink: tuple[int, int, int]) -> None:
    """A closed, dashed line."""
    xy = np.array([*places, places[0]])
    along = np.concatenate([[0.0], np.hypot(*np.diff(xy, axis=0).T).cumsum()])
    for begin in np.arange(0, along[-1], 2 * DASH):
        marks = [begin, *along[(along > begin) & (along < begin + DASH)], min(begin + DASH, along[-1])]
        line = [(float(np.interp(at, along, xy[:, 0])), float(np.interp(at, along, xy[:, 1]))) for at in marks]
        pen.line(line, fill=(0, 0, 0), width=4)
        pen.line(line, fill=ink, width=2)


def draw_cross(pen: ImageDraw.ImageDraw, canvas: Canvas, xy: XY) -> None:
    """Thin lines through a place, as far as the slice goes."""
    x, y = canvas.screen(*xy)
    left, top = canvas.offset
    width, height = canvas.size
    pen.line([x, top, x, top + height], fill=(90, 200, 250), width=1)
    pen.line([left, y, left + width, y], fill=(90, 200, 250), width=1)


def colour(index: int) -> tuple[int, int, int]:
    """Colour of a class."""
    red, green, blue = (int(part) for part in class_colours()[index])
    return red, green, blue
