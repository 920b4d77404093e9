"""The dark object that a detector's box lies on: few images teach where it is, contrast shows its edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIDE = 192  # the longer side, in pixels, of the picture in which edges are looked for; what follows counts its pixels
HAIR = 5  # dark lines thinner than this are closed
BLUR = 2.0
OPENING = 7  # necks and specks thinner than twice this are cut off
REACH = 2.5  # the object lies within the box magnified so
SURROUNDINGS = 1.15  # what lies outside the box magnified so tells the colour of the background
SHARE = 0.5  # of Otsu's threshold: borders fade, and annotators draw round the fading part
FAINT = 0.01  # optical density, about a hundredth of the light, below which nothing stands out
BLACK = 0.22  # brightest channel of the dark corners of a round lens
ROUNDS = 2
EDGE = 4.0  # pixels over which an object's map falls from sure to unsure
SURE = 4.0  # logit deep inside an object


def dark_boxes(image: Tensor, boxes: Tensor) -> Tensor:
    """Each box replaced by that of the object under it which is darker than its surroundings.

    A pixel is as dark as its optical density, over all colours, exceeds the background's median. The black corners
    that a round lens leaves are not looked at. A box where nothing stands out stays as it is, and so does NaN.

    Not for objects that are brighter than their surroundings, nor for several objects of one class.

    Args:
        image: in [0, 1].
        boxes: x1, y1, x2, y2 in its pixels.

    Shape: image (B, 3, H, W), boxes (B, K, 4) -> (B, K, 4).

    Raises:
        ValueError: shapes that do not fit.
    """
    found = boxes.clone()
    for index, k, density, valid, box, scale in _each_box(image, boxes):
        moved = box
        for _ in range(ROUNDS):
            mask = _object(density, valid, moved)
            if mask is not None:
                rows, columns = ndimage.find_objects(mask.astype(np.int8))[0]
                moved = np.array([columns.start, rows.start, columns.stop, rows.stop], float)
        found[index, k] = boxes.new_tensor(moved * scale)
    return found


def dark_masks(image: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Logits of the dark object on which each box lies, as `dark_boxes` finds it, within a little more than the box.

    Args:
        image: in [0, 1].
        boxes: x1, y1, x2, y2 in its pixels.
        size: height and width of the maps.

    Returns:
        Maps between -SURE and SURE, 0 at the object's edge; NaN where there is no box or nothing stands out.

    Shape: image (B, 3, H, W), boxes (B, K, 4) -> (B, K, h, w).

    Raises:
        ValueError: shapes that do not fit.
    """
    maps = boxes.new_full((*boxes.shape[:2], *size), torch.nan)
    for index, k, density, valid, box, _ in _each_box(image, boxes):
        mask = _object(density, valid, box)
        if mask is not None:
            mask = ndimage.binary_fill_holes(mask) & (_away(box, mask.shape)[0] <= SURROUNDINGS / 2)
        if mask is None or not mask.any():
            continue
        depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
        logits = torch.from_numpy(SURE * np.tanh(depth / EDGE)).to(maps)[None, None]
        maps[index, k] = F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)[0, 0]
    return maps


def _each_box(image: Tensor, boxes: Tensor) -> Iterator[tuple[int, int, Plane, Mask, NDArray[np.float64], float]]:
    """Image and class of each box that is there, density and valid pixels, the box in these, and their size."""
    if image.ndim != 4 or image.shape[1] != 3 or boxes.shape[:1] + boxes.shape[2:] != (image.shape[0], 4):
        raise ValueError(
            f"image must be (B, 3, H, W) and boxes (B, K, 4), got {tuple(image.shape)} and {tuple(boxes.shape)}."
        )
    for index, picture in enumerate(image):
        chosen = (~boxes[index].isnan().any(dim=-1)).nonzero()[:, 0].tolist()
        if not chosen:
            continue
        density, valid, scale = _density(picture)
        for k in chosen:
            yield index, k, density, valid, boxes[index, k].cpu().numpy().astype(float) / scale, scale


def _density(picture: Tensor) -> tuple[Plane, Mask, float]:
    """Optical density without hair (h, w, 3), which pixels count, and pixels of the picture in one of these."""
    scale = max(picture.shape[-2:]) / SIDE
    size = [max(1, round(side / scale)) for side in picture.shape[-2:]]
    small = F.interpolate(picture[None].float().cpu(), size, mode="bilinear", align_corners=False, antialias=True)[0]
    pixels = ndimage.grey_closing(small.permute(1, 2, 0).numpy(), (HAIR, HAIR, 1))
    density = ndimage.gaussian_filter(-np.log(pixels.clip(0.03, 1)), (BLUR, BLUR, 0))
    return density, _without_black_corners(pixels), scale


def _without_black_corners(pixels: Plane) -> Mask:
    """Pixels (h, w) that no black region at a corner reaches."""
    parts, _ = ndimage.label(pixels.max(axis=-1) < BLACK)
    corners = set(parts[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()) - {0}
    return (
        ndimage.binary_erosion(~np.isin(parts, list(corners)), iterations=4, border_value=1) if corners else parts >= 0
    )


def _away(box: NDArray[np.float64], shape: Sequence[int]) -> tuple[Plane, Plane]:
    """How far each pixel (h, w) is from the box's middle, its sides counting 1: the larger of x and y, and squared."""
    centre, sides = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    x, y = (columns + 0.5 - centre[0]) / sides[0], (rows + 0.5 - centre[1]) / sides[1]  # 0.5 is the box's edge
    return np.maximum(abs(x), abs(y)), x**2 + y**2


def _object(density: Plane, valid: Mask, box: NDArray[np.float64]) -> Mask | None:
    """What stands out most near the middle of `box`, (h, w); None where nothing does."""
    away, square = _away(box, valid.shape)
    near, around = valid & (away <= REACH / 2), valid & (away > SURROUNDINGS / 2)
    if near.sum() < 50:
        return None
    background = np.median(density[around if around.sum() >= 200 else valid], axis=0)
    darker = np.linalg.norm((density - background).clip(min=0), axis=-1)
    standing_out = near & (darker > max(FAINT, SHARE * otsu(darker[near])))
    parts, count = ndimage.label(ndimage.binary_opening(standing_out, iterations=OPENING))
    if count == 0:
        return None
    weight = darker * np.exp(-2 * square)
    return parts == 1 + int(np.argmax(ndimage.sum(weight, parts, range(1, count + 1))))


def otsu(values: Plane) -> float:
    """The threshold that parts values (N,) into two groups of least variance (Otsu, 1979)."""
    found = SimpleITK.OtsuThresholdImageFilter()
    found.Execute(SimpleITK.GetImageFromArray(values[None].astype(np.float32)))
    return float(found.GetThreshold())
