"""An abdomen in contrast-enhanced CT: what Synapse (BTCV) looks like, without a patient."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from amsam_monai.phantoms.noise import Field, smooth_noise_3d

Grid = tuple[Field, Field, Field]  # coordinates in millimetres: to the right, to the front, upwards (RAS)
Vector = tuple[float, float, float]

FIELD_OF_VIEW_MM, SLICE_MM, SLICES = 370.0, 5.0, 36
AIR, FAT, MUSCLE = -1000.0, -100.0, 58.0

# Solid organs by raw BTCV id: ellipsoids as (centre, half axes), millimetres. Later ones lie in front of earlier ones.
ELLIPSOIDS: tuple[tuple[int, Vector, Vector], ...] = (
    (6, (68, 5, 38), (72, 72, 62)),  # liver, right lobe
    (6, (5, 48, 48), (58, 32, 38)),  # liver, left lobe
    (7, (-62, 28, 38), (38, 36, 46)),  # stomach
    (1, (-100, -28, 38), (24, 42, 44)),  # spleen
    (2, (64, -42, -22), (27, 24, 48)),  # right kidney
    (3, (-64, -42, -10), (27, 24, 48)),  # left kidney
    (4, (42, 52, -8), (15, 22, 24)),  # gallbladder
)
# Tubes by raw id: (radius, points along the middle line).
TUBES: tuple[tuple[int, float, tuple[Vector, ...]], ...] = (
    (7, 17, ((-55, 35, 5), (-15, 48, -5))),  # antrum of the stomach
    (11, 12, ((26, 12, -14), (8, 18, 2), (-25, 12, 10), (-68, -12, 22))),  # pancreas
    (10, 6.5, ((42, 12, 34), (14, 4, 12), (-20, 0, 14), (-74, -18, 28))),  # portal and splenic vein
    (9, 12, ((24, -34, -95), (24, -30, 95))),  # inferior vena cava
    (8, 11, ((-9, -36, -95), (-7, -38, 95))),  # aorta
    (5, 8.5, ((-6, -18, 95), (-12, -12, 68), (-34, 4, 56))),  # oesophagus
    (12, 4.5, ((33, -40, 36), (44, -46, 26))),  # right adrenal gland
    (13, 4.5, ((-30, -34, 36), (-40, -40, 24))),  # left adrenal gland
)
# Hounsfield units in the portal phase by raw id.
ORGAN_HU = (0, 118, 175, 175, 12, 45, 108, 35, 165, 145, 168, 92, 80, 80)


def abdomen_affine(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Voxel-to-world matrix of a scanner's axial series: stored right to left, front to back, upwards."""
    spacing = np.array([FIELD_OF_VIEW_MM / shape[0], FIELD_OF_VIEW_MM / shape[0], SLICE_MM])
    affine = np.diag([*(spacing * (-1, -1, 1)), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def abdomen(rng: Generator, side: int = 256) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """One abdomen: Hounsfield units, the 13 raw BTCV labels, and the affine.

    Shape: -> image (side, side, 36), labels alike, affine (4, 4).
    """
    shape = (side, side, SLICES)
    affine = abdomen_affine(shape)
    axes = [affine[k, k] * np.arange(shape[k], dtype=np.float32) + affine[k, 3] for k in range(3)]
    straight: Grid = tuple(np.meshgrid(*axes, indexing="ij", sparse=True))  # type: ignore[assignment]
    build = rng.uniform(0.92, 1.06)
    warped: Grid = tuple(
        (coordinate / build + 4.5 * smooth_noise_3d(rng, shape, (side / 6, side / 6, 7))).astype(np.float32)
        for coordinate in straight
    )  # type: ignore[assignment]
    labels = organ_labels(rng, warped)
    hounsfield = background_hu(rng, straight, warped, build)
    labels[~_within_wall(straight, build)] = 0
    hounsfield = paint_organs(rng, hounsfield, labels, warped)
    blurred = gaussian_filter(hounsfield, (0.7, 0.7, 0)) + rng.normal(0, 13, shape)
    return blurred.clip(-1024, 3000).astype(np.int16), labels, affine


def organ_labels(rng: Generator, grid: Grid) -> NDArray[np.uint8]:
    """Raw BTCV label map; places and sizes vary a little from one call to the next.

    Shape: three coordinates (X, Y, Z) -> (X, Y, Z)
    """
    labels = np.zeros(np.broadcast_shapes(*(axis.shape for axis in grid)), np.uint8)
    for raw_id, centre, half_axes in ELLIPSOIDS:
        size = np.array(half_axes) * rng.uniform(0.9, 1.1)
        middle = np.array(centre) + rng.normal(0, 3, 3)
        labels[sum(((axis - m) / s) ** 2 for axis, m, s in zip(grid, middle, size, strict=True)) < 1] = raw_id
    for raw_id, radius, points in TUBES:
        path = np.array(points) + rng.normal(0, 2, 3)
        labels[near_path(grid, path, radius * rng.uniform(0.9, 1.1))] = raw_id
    return labels


def near_path(grid: Grid, path: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    """Where the distance to a polyline is below `radius`; the points are in millimetres.

    Shape: three coordinates (X, Y, Z), (N, 3) -> (X, Y, Z)
    """
    inside = np.zeros(np.broadcast_shapes(*(axis.shape for axis in grid)), bool)
    for start, end in pairwise(path):
        along = end - start
        offset = [axis - np.float32(s) for axis, s in zip(grid, start, strict=True)]
        reached = sum(o * np.float32(a) for o, a in zip(offset, along, strict=True)) / np.float32(along @ along)
        reached = np.clip(reached, 0, 1)
        inside |= sum((o - reached * np.float32(a)) ** 2 for o, a in zip(offset, along, strict=True)) < radius**2
    return inside


def background_hu(rng: Generator, straight: Grid, warped: Grid, build: float) -> Field:
    """Everything that has no label: air, fat, muscle, bone, lung bases and bowel.

    Shape: coordinates (X, Y, Z) -> (X, Y, Z)
    """
    x, y, z = warped
    body = (straight[0] / (168 * build)) ** 2 + (straight[1] / (118 * build)) ** 2
    hounsfield = np.full(x.shape, AIR, np.float32)
    hounsfield[np.broadcast_to(body < 1, x.shape)] = FAT
    wall = (body < 0.86) & ~_within_wall(straight, build)
    hounsfield[np.broadcast_to(wall, x.shape)] = MUSCLE
    ribs = wall & (np.cos(0.11 * z + 9 * np.arctan2(y, x)) > 0.86) & (z > -30)
    hounsfield[ribs] = 320
    hounsfield[(np.hypot((np.abs(x) - 42) / 1.3, y + 78) < 20) & (body < 0.86)] = MUSCLE
    bowel = (smooth_noise_3d(rng, x.shape, (x.shape[0] / 14, x.shape[0] / 14, 4)) > 0.1) & (z < 18) & (y > -30)
    bowel &= _within_wall(straight, build)
    hounsfield[bowel] = 40
    gas = smooth_noise_3d(rng, x.shape, (x.shape[0] / 20, x.shape[0] / 20, 3)) > 1.5
    hounsfield[bowel & gas & (y > 25)] = -850
    dome = 76 - 0.0025 * (x**2 + (y - 20) ** 2)  # millimetres, the height of the diaphragm
    lung = (z > dome) & (np.hypot(x, y + 30) > 42) & _within_wall(straight, build)
    hounsfield[lung] = -860
    spine = np.hypot(x, (y + 64) * 1.1) < 21
    disc = np.sin(z / 5.2) > 0.8
    hounsfield[spine] = np.where(disc, 85, 210)[spine]
    hounsfield[(np.hypot(x, y + 92) < 9) | ((np.abs(y + 84) < 5) & (np.abs(x) < 24))] = 380
    hounsfield[np.hypot(x, y + 88) < 7] = 30  # spinal canal
    return hounsfield


def _within_wall(straight: Grid, build: float) -> NDArray[np.bool_]:
    """The abdominal cavity. Shape: coordinates (X, Y, Z) -> (X, Y, Z)."""
    shape = np.broadcast_shapes(*(axis.shape for axis in straight))
    return np.broadcast_to((straight[0] / (140 * build)) ** 2 + (straight[1] / (93 * build)) ** 2 < 1, shape)


def paint_organs(rng: Generator, hounsfield: Field, labels: NDArray[np.uint8], grid: Grid) -> Field:
    """Organs painted over the background: parenchyma, renal cortex, gastric air.

    Shape: (X, Y, Z), labels and coordinates alike -> (X, Y, Z)
    """
    values = np.array(ORGAN_HU, np.float32) + rng.normal(0, 6, len(ORGAN_HU)).astype(np.float32)
    texture = 7 * smooth_noise_3d(rng, labels.shape, (6, 6, 2))
    painted = np.where(labels > 0, values[labels] + texture, hounsfield)
    kidney = (labels == 2) | (labels == 3)
    medulla = kidney & (gaussian_filter(kidney.astype(np.float32), (3, 3, 1)) > 0.93)
    painted[medulla] -= 45
    vessels = (labels == 6) & (np.abs(smooth_noise_3d(rng, labels.shape, (labels.shape[0] / 16,) * 2 + (3,))) < 0.05)
    painted[vessels] += 45
    painted[(labels == 7) & (grid[1] > 50)] = -900  # air rises to the front of a patient on the back
    return painted
