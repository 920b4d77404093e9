"""Pictures of a segmented image: the mask over the image, a sheet of slices for a volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.load import picture_tensor
from amsam_monai.handlers.overlays import draw_overlay
from amsam_monai.segment.doubt import doubtful_slices
from amsam_monai.segment.segmenter import SegmentedImage
from amsam_monai.transforms.intensity import Intensity

SHEET_SLICES = 9


def save_overlay(result: SegmentedImage, path: str | Path, *, side: int = 512) -> Path:
    """Write a PNG of the mask over the image, as the network saw it.

    Args:
        result: what a `Segmenter` gave.
        path: ends in .png.
        side: longest side of the picture in pixels, or of three slices side by side.
    """
    path = Path(path)
    with whole_file(path) as partial:
        overlay(result, side=side).save(partial, format="PNG")
    return path


def overlay(result: SegmentedImage, *, side: int = 512) -> Image.Image:
    """The picture of `save_overlay`; of a volume whose quality is told the most doubtful slices, the worst first."""
    if result.view is None:
        return tile(picture_tensor(result.source), result.label, result.limits, side)
    image, label = result.view.see(result.source.array), result.view.see(result.label)
    doubted = [result.view.renumbered(at) for at, _, _ in doubtful_slices(result.quality)[:SHEET_SLICES]]
    numbers = doubted or chosen_slices(label)
    columns = min(3, len(numbers))
    tiles = [
        tile(torch.from_numpy(image[number].copy())[None], label[number], result.limits, side // columns)
        for number in numbers
    ]
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height))
    for place, picture in enumerate(tiles):
        sheet.paste(picture, (place % columns * width, place // columns * height))
    return sheet


def tile(raw: Tensor, label: np.ndarray, limits: tuple[float, float] | None, side: int) -> Image.Image:
    """One slice or image (C, H, W) of stored values with its label (H, W)."""
    scale = Intensity("min_max", check=False)
    pixels = scale.apply(raw, limits or scale.limits(raw))
    return draw_overlay(pixels[:3], pred=torch.from_numpy(label.copy())[None], side=side)


def chosen_slices(label: np.ndarray, count: int = SHEET_SLICES) -> list[int]:
    """Slices spread evenly over those that hold foreground, or over all where none does. Shape: label (D, H, W)."""
    occupied = [number for number, one in enumerate(label) if one.any()] or list(range(len(label)))
    picks = np.linspace(0, len(occupied) - 1, min(count, len(occupied)))
    return [occupied[round(float(place))] for place in picks]
