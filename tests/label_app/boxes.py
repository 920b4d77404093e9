"""A picture of two dark rectangles, a bundle whose masks are the dark object in each box, and requests of boxes."""

import numpy as np
from PIL import Image

from tests.label_app.nano_bundle import write_nano_bundle

FIRST, SECOND = ((8, 8), (27, 55)), ((36, 8), (55, 55))  # corners, both inside
CELLS = "cells_segmentation"


def save_rectangles(path):
    picture = np.full((64, 64, 3), 210, np.uint8)
    for (x1, y1), (x2, y2) in (FIRST, SECOND):
        picture[y1 : y2 + 1, x1 : x2 + 1] = 60
    Image.fromarray(picture).save(path)
    return path


def write_cells_bundle(folder, labels=("cell",)):
    return write_nano_bundle(
        folder, name=CELLS, system="amsam_objects", labels=labels, data_type="png", intensity={"mode": "bit_depth"}
    )


def asked(*boxes):
    """Boxes as a client sends them."""
    return [[[*corner, 0] for corner in box] for box in boxes]


def overlap(mask, *boxes):
    """IoU of a mask (H, W) with rectangles."""
    wanted = np.zeros((64, 64), bool)
    for (x1, y1), (x2, y2) in boxes:
        wanted[y1 : y2 + 1, x1 : x2 + 1] = True
    return ((mask > 0) & wanted).sum() / ((mask > 0) | wanted).sum()
