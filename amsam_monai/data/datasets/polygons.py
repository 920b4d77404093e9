"""MoNuSeg's own labels: outlines of nuclei in Aperio's XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw

from amsam_monai.data.files.loaded_image import ImageFileError

POLYGON_SUFFIX = ".xml"


def read_polygons(path: Path, shape_hw: tuple[int, ...]) -> np.ndarray:
    """Mask of everything inside one of the outlines, 0 and 1.

    Args:
        path: XML with Region elements that hold Vertex elements with X and Y, in pixels.
        shape_hw: rows and columns of the image.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: not XML, no outline, or a vertex far outside the image.

    Shape: -> (H, W)
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    try:
        regions = list(ElementTree.fromstring(path.read_bytes()).iter("Region"))
        outlines = [[(float(v.attrib["X"]), float(v.attrib["Y"])) for v in region.iter("Vertex")] for region in regions]
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ImageFileError(path, f"cannot be read as an outline XML ({error}); the file is damaged.") from error
    outlines = [outline for outline in outlines if len(outline) > 2]
    if not outlines:
        raise ImageFileError(path, "must hold at least one Region of three vertices, got none.")
    corners = np.concatenate([np.array(outline) for outline in outlines])
    if corners.min() < -8 or corners[:, 0].max() > shape_hw[1] + 8 or corners[:, 1].max() > shape_hw[0] + 8:
        raise ImageFileError(path, f"outlines must lie within {shape_hw[1]}x{shape_hw[0]}, got {corners.max():.0f}.")
    canvas = Image.new("L", (shape_hw[1], shape_hw[0]))
    pen = ImageDraw.Draw(canvas)
    for outline in outlines:
        pen.polygon(outline, fill=1)
    return np.array(canvas)
