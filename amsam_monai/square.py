"""Where an image lies in a square: numbers alone, for programs without torch too."""

from __future__ import annotations

from dataclasses import dataclass

RESIZE_MODES = ("pad", "stretch")


@dataclass(frozen=True)
class Square:
    """An image of height x width inside a size x size square.

    `pad` scales the longest side to `size` and pads bottom and right, as SAM does; `stretch` scales both sides,
    as BLO-SAM and SAMed do. Pixel coordinates are (x, y) with (0, 0) the centre of the top-left pixel;
    boxes are edges x1, y1, x2, y2 with 0 the left edge of the first pixel.

    Args:
        height: rows of the image.
        width: columns of the image.
        size: side of the square.
        mode: one of RESIZE_MODES.

    Raises:
        ValueError: unknown mode, or an empty image.
    """

    height: int
    width: int
    size: int
    mode: str = "pad"

    def __post_init__(self) -> None:
        if self.mode not in RESIZE_MODES:
            raise ValueError(f"resize mode must be one of {RESIZE_MODES}, got {self.mode!r}.")
        if min(self.height, self.width, self.size) < 1:
            raise ValueError(f"image and frame must not be empty, got {self.height}x{self.width} in {self.size}.")

    @property
    def scaled_hw(self) -> tuple[int, int]:
        """(rows, columns) that the image takes in the square."""
        if self.mode == "stretch":
            return self.size, self.size
        scale = self.size / max(self.height, self.width)
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Factors from pixels of the image to pixels of the square, (x, y)."""
        rows, columns = self.scaled_hw
        return columns / self.width, rows / self.height
