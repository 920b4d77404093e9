"""PyTorch's bilinear resizing as sparse matrices, weight for weight in 32-bit floats."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import sparse

from amsam_monai.square import Square

SINGLE = np.float32


def framed(image: np.ndarray, square: Square, fill: np.ndarray) -> np.ndarray:
    """Images in their square, antialiased; padding takes `fill`.

    Shape: image (B, C, H, W) float32, fill (C,) -> (B, C, S, S).
    """
    rows, columns = square.scaled_hw
    scaled = along(image, antialiased(square.height, rows), antialiased(square.width, columns))
    if (rows, columns) == (square.size, square.size):
        return scaled
    found = np.empty((*image.shape[:2], square.size, square.size), SINGLE)
    found[:] = fill.reshape(1, -1, 1, 1)
    found[..., :rows, :columns] = scaled
    return found


def restored(logits: np.ndarray, square: Square) -> np.ndarray:
    """Maps of the square at the image's size, as `SquareFrame.restore` gives them. (B, C, h, w) -> (B, C, H, W)."""
    rows, columns = square.scaled_hw
    return along(
        logits,
        _back(logits.shape[-2], square.size, rows, square.height),
        _back(logits.shape[-1], square.size, columns, square.width),
    )


def along(image: np.ndarray, rows: sparse.csr_array, columns: sparse.csr_array) -> np.ndarray:
    """A matrix along each of the last two axes. Shape (B, C, H, W), (h, H), (w, W) -> (B, C, h, w)."""
    batch, channels, height, width = image.shape
    flat = np.ascontiguousarray(image, SINGLE).reshape(-1, width)
    wide = columns @ flat.T  # (w, B C H)
    wide = wide.reshape(columns.shape[0], batch * channels, height).transpose(2, 1, 0)  # (H, B C, w)
    done = rows @ np.ascontiguousarray(wide).reshape(height, -1)
    found = done.reshape(rows.shape[0], batch, channels, columns.shape[0]).transpose(1, 2, 0, 3)
    return np.ascontiguousarray(found)


@lru_cache(maxsize=32)
def antialiased(inputs: int, outputs: int) -> sparse.csr_array:
    """Weights of inputs in outputs: a triangle as wide as an output is, or as an input where these are wider."""
    if inputs == outputs:
        return sparse.eye_array(inputs, dtype=SINGLE, format="csr")
    scale = SINGLE(inputs) / SINGLE(outputs)
    support = max(scale, SINGLE(1))
    narrow = SINGLE(1) / scale if scale >= 1 else SINGLE(1)
    centre = (np.float64(scale) * (np.arange(outputs) + 0.5)).astype(SINGLE)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), inputs)
    place = first[:, None] + np.arange(int((last - first).max()))
    away = (place.astype(SINGLE) - centre[:, None] + 0.5) * narrow
    weight = np.where(place < last[:, None], np.maximum(1 - np.abs(away), 0), 0).astype(SINGLE)
    weight /= weight.sum(1, keepdims=True, dtype=SINGLE)
    return _matrix(place, weight, inputs)


@lru_cache(maxsize=32)
def _back(side: int, size: int, cut: int, whole: int) -> sparse.csr_array:
    """From `side` cells to the square's `size` pixels, of which `cut` are the image, to its `whole` pixels."""
    return (plain(cut, whole) @ plain(side, size)[:cut]).astype(SINGLE).tocsr()


def plain(inputs: int, outputs: int) -> sparse.csr_array:
    """Weights of inputs in outputs: of the two nearest ones."""
    if inputs == outputs:
        return sparse.eye_array(inputs, dtype=SINGLE, format="csr")
    scale = SINGLE(inputs) / SINGLE(outputs)
    at = np.maximum(scale * (np.arange(outputs, dtype=SINGLE) + SINGLE(0.5)) - SINGLE(0.5), 0).astype(SINGLE)
    low = np.minimum(at.astype(np.int64), inputs - 1)
    share = np.clip(at - low.astype(SINGLE), 0, 1).astype(SINGLE)
    place = np.stack([low, np.minimum(low + 1, inputs - 1)], axis=1)
    return _matrix(place, np.stack([1 - share, share], axis=1), inputs)


def _matrix(place: np.ndarray, weight: np.ndarray, inputs: int) -> sparse.csr_array:
    """A matrix from the inputs of each output and their weights. Shape (outputs, n), (outputs, n)."""
    rows = np.repeat(np.arange(len(place)), place.shape[1])
    places = np.minimum(place, inputs - 1).ravel()
    found = sparse.coo_array((weight.ravel().astype(SINGLE), (rows, places)), shape=(len(place), inputs)).tocsr()
    found.eliminate_zeros()
    return found
