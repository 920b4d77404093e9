"""Random fields and curves that the phantoms are painted with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import zoom

Field = NDArray[np.floating[Any]]


def smooth_noise(rng: Generator, shape_hw: tuple[int, ...], scale: float) -> Field:
    """Noise with zero mean and unit spread whose blobs are about `scale` pixels wide.

    Shape: -> (H, W)
    """
    height, width = shape_hw
    coarse = rng.standard_normal((int(height / scale) + 3, int(width / scale) + 3)).astype(np.float32)
    field = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def fractal_noise(rng: Generator, shape_hw: tuple[int, ...], scale: float, octaves: int = 3) -> Field:
    """Sum of smooth noises, each half as wide and half as strong as the one before, unit spread.

    Shape: -> (H, W)
    """
    total = sum(smooth_noise(rng, shape_hw, max(scale / 2**k, 1.0)) / 2**k for k in range(octaves))
    return np.asarray(total / max(float(np.std(total)), 1e-6), np.float32)


def smooth_noise_3d(rng: Generator, shape: tuple[int, int, int], scale: tuple[float, float, float]) -> Field:
    """Noise in a volume with zero mean and unit spread; `scale` is the width of its blobs in voxels per axis.

    Shape: -> (X, Y, Z)
    """
    coarse = rng.standard_normal([int(n / s) + 2 for n, s in zip(shape, scale, strict=True)]).astype(np.float32)
    factors = [n / c for n, c in zip(shape, coarse.shape, strict=True)]
    field = zoom(coarse, factors, order=1, grid_mode=True, mode="nearest")
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def wavy_radius(rng: Generator, angles: Field, roughness: float, waves: int = 7) -> Field:
    """Factor around 1 by which a radius changes with the angle: the outline of an irregular blob."""
    radius = np.ones_like(angles)
    for k in range(2, waves + 2):
        radius += roughness / k * rng.standard_normal() * np.cos(k * angles + rng.uniform(0, 2 * np.pi))
    return np.clip(radius, 0.4, 1.8)


def blob_distance(
    rng: Generator, shape_hw: tuple[int, ...], centre_yx: tuple[float, float], radius: float, roughness: float
) -> Field:
    """Signed distance in pixels, roughly, from the outline of an irregular blob; negative inside.

    Shape: -> (H, W)
    """
    rows, columns = np.mgrid[: shape_hw[0], : shape_hw[1]].astype(np.float32)
    turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
    dy, dx = rows - centre_yx[0], columns - centre_yx[1]
    along, across = dx * np.cos(turn) + dy * np.sin(turn), (dy * np.cos(turn) - dx * np.sin(turn)) / squeeze
    outline = radius * wavy_radius(rng, np.arctan2(across, along), roughness)
    ragged = fractal_noise(rng, shape_hw, radius / 3) * radius * roughness * 0.35
    return (np.hypot(along, across) - outline + ragged).astype(np.float32)


def draw_curves(
    shape_hw: tuple[int, ...], curves_xy: list[NDArray[np.float64]], widths: list[float], oversample: int = 2
) -> Field:
    """Coverage in [0, 1] of anti-aliased curves.

    Shape: curves of (N, 2) -> (H, W)
    """
    height, width = shape_hw
    canvas = Image.new("L", (width * oversample, height * oversample))
    pen = ImageDraw.Draw(canvas)
    for curve, line in zip(curves_xy, widths, strict=True):
        pen.line([tuple(point) for point in curve * oversample], fill=255, width=max(1, round(line * oversample)))
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX), np.float32) / 255
