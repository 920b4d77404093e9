"""A beating heart in short-axis MR slices: what ACDC looks like, without a patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from amsam_monai.phantoms.noise import Field, smooth_noise, smooth_noise_3d, wavy_radius

SPACING_MM = (1.5625, 1.5625, 10.0)
RV, MYOCARDIUM, LV = 1, 2, 3
# Brightness of a balanced steady-state sequence: blood and fat shine, muscle is grey, lung is dark.
BLOOD, MUSCLE, FAT, LIVER, LUNG = 210.0, 75.0, 230.0, 115.0, 18.0


@dataclass(frozen=True)
class Heart:
    """Measures of one heart; lengths in millimetres at the base, at end-diastole."""

    lv_radius: float
    wall: float
    rv_reach: float
    ejection: float  # fraction by which the radius of the left ventricle shrinks
    turn: float  # where the right ventricle lies, radians from the image's left
    tilt: tuple[float, float]  # drift of the axis per slice, pixels
    outline_seed: int


def random_heart(rng: Generator, scale: float = 1.0) -> Heart:
    """A heart drawn at random; `scale` below 1 fits it into a small field of view."""
    return Heart(
        lv_radius=scale * rng.uniform(21, 30),
        wall=scale * rng.uniform(7, 13),
        rv_reach=scale * rng.uniform(36, 48),
        ejection=rng.uniform(0.12, 0.42),
        turn=rng.uniform(-0.5, 0.9),
        tilt=(rng.normal(0, 0.5), rng.normal(0, 0.5)),
        outline_seed=int(rng.integers(2**31)),
    )


def oblique_affine(rng: Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Voxel-to-world matrix of a short-axis stack: three angles, no axis along the patient's."""
    angles = rng.normal((22, -25, 18), 4)  # from a stack stored to the left, to the back and upwards
    affine = np.eye(4)
    turned = Rotation.from_euler("zyx", angles, degrees=True).as_matrix() @ np.diag((-1.0, -1.0, 1.0))
    affine[:3, :3] = turned @ np.diag(SPACING_MM)
    affine[:3, 3] = rng.normal(0, 20, 3) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def heart_labels(heart: Heart, shape: tuple[int, int, int], contraction: float) -> NDArray[np.uint8]:
    """Label map of a heart, contracted from 0 (end-diastole) to 1 (end-systole).

    Shape: -> (X, Y, Z), first slice basal, values 0, RV, MYOCARDIUM, LV.
    """
    labels = np.zeros(shape, np.uint8)
    for z in range(shape[2]):
        height = z / max(shape[2] - 1, 1)  # 0 base, 1 apex
        labels[..., z] = _slice_labels(heart, shape[:2], z, height, contraction)
    return labels


def _slice_labels(heart: Heart, shape: tuple[int, int], z: int, height: float, contraction: float) -> NDArray[np.uint8]:
    x, y = _plane_mm(shape, (z * heart.tilt[0], z * heart.tilt[1]))
    taper = np.sqrt(max(1.02 - height**2 * 0.95, 0.0))
    shrink = 1 - contraction * heart.ejection
    inner = heart.lv_radius * taper * shrink
    outer = inner + heart.wall * (1 + 0.9 * (1 - shrink)) * (0.75 + 0.25 * taper)
    angles = np.arctan2(y, x)
    wave = wavy_radius(np.random.default_rng(heart.outline_seed), angles, 0.05)
    away = np.hypot(x, y * 1.06) / wave
    labels = np.zeros(shape, np.uint8)
    reach = heart.rv_reach * (1 - height) ** 0.5 * (1 - 0.8 * contraction * heart.ejection)
    if height < 0.85:
        rv_x, rv_y = -np.cos(heart.turn) * 0.95 * outer, np.sin(heart.turn) * 0.95 * outer
        along = (x - rv_x) * -np.cos(heart.turn) + (y - rv_y) * np.sin(heart.turn)
        across = (x - rv_x) * np.sin(heart.turn) + (y - rv_y) * np.cos(heart.turn)
        crescent = (along / (0.72 * reach)) ** 2 + (across / reach) ** 2 / wave**2
        labels[crescent < 1] = RV
    labels[away < outer] = MYOCARDIUM
    labels[away < inner] = LV
    return labels


def _plane_mm(shape: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)) -> tuple[Field, Field]:
    x, y = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    centre = shape[0] * 0.53 + shift[0], shape[1] * 0.5 + shift[1]
    return (x - centre[0]) * SPACING_MM[0], (y - centre[1]) * SPACING_MM[1]


def heart_image(rng: Generator, labels: NDArray[np.uint8], scene: Field) -> NDArray[np.int16]:
    """Signal of a label map within the chest of `chest_scene`, with flow, papillary muscles and Rician noise.

    Shape: (X, Y, Z), (X, Y, Z) -> (X, Y, Z)
    """
    mottled = smooth_noise_3d(rng, labels.shape, (5, 5, 1))
    signal = np.where(gaussian_filter((labels == RV).astype(np.float32), (1.4, 1.4, 0)) > 0.12, MUSCLE, scene)
    signal = np.where(labels == MYOCARDIUM, MUSCLE + 7 * mottled, signal)
    signal = np.where((labels == LV) | (labels == RV), BLOOD + 18 * mottled, signal)
    signal = np.where(_papillary(rng, labels), MUSCLE + 25, signal)
    signal = gaussian_filter(signal, (0.8, 0.8, 0)) * _coil(rng, labels.shape)
    noise = rng.normal(0, 7, (2, *labels.shape))
    return np.hypot(signal + noise[0], noise[1]).astype(np.int16)


def chest_scene(rng: Generator, shape: tuple[int, int, int]) -> Field:
    """What lies round the heart: fat, chest wall, lungs with vessels, liver, descending aorta.

    Shape: -> (X, Y, Z)
    """
    x, y = _plane_mm((shape[0], shape[1]))
    half_x, half_y = shape[0] * SPACING_MM[0] / 2, shape[1] * SPACING_MM[1] / 2
    wall = (x / (0.95 * half_x)) ** 2 + (y / (0.97 * half_y)) ** 2
    x, y = (axis + 9 * smooth_noise(rng, shape[:2], 18) for axis in (x, y))  # no straight borders in a body
    flat = FAT * 0.42 + 22 * smooth_noise(rng, shape[:2], 7)  # tissue round the heart
    flat[np.hypot((x - 0.75 * half_x) / 0.42, (y + 0.15 * half_y) / 0.62) < half_y] = LUNG
    flat[np.hypot((x + 0.95 * half_x) / 0.36, (y + 0.1 * half_y) / 0.8) < half_y] = LUNG
    flat[y > 0.42 * half_y + 0.25 * x] = LIVER
    flat[smooth_noise(rng, shape[:2], 5) > 2.0] = BLOOD * 0.7  # vessels
    flat[np.hypot(x - 0.5 * half_x, y - 0.35 * half_y) < 11] = BLOOD  # descending aorta
    flat[wall > 0.85] = MUSCLE
    flat[wall > 0.95] = FAT
    flat[wall > 1.25] = 3
    grain = smooth_noise_3d(rng, shape, (4, 4, 1.5))
    return flat[..., None] * (1 + 0.10 * grain)


def _papillary(rng: Generator, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Two dark cords inside the left ventricle, which the label counts as blood, and ridges of the right one."""
    x, y = np.mgrid[: labels.shape[0], : labels.shape[1]]
    cords = np.zeros(labels.shape, bool)
    for z in range(1, labels.shape[2] - 1):
        inside = np.argwhere(labels[..., z] == LV)
        if len(inside) < 60:
            continue
        centre, radius = inside.mean(0), np.sqrt(len(inside) / np.pi)
        for angle in (0.9, 2.6):
            turn = angle + rng.normal(0, 0.15)
            at = centre + 0.62 * radius * np.array([np.cos(turn), np.sin(turn)])
            cords[..., z] |= np.hypot(x - at[0], y - at[1]) < 0.17 * radius
    ridges = (labels == RV) & (smooth_noise_3d(rng, labels.shape, (3, 3, 1)) > 1.7)
    return (cords & (labels == LV)) | ridges


def _coil(rng: Generator, shape: tuple[int, ...]) -> Field:
    """Sensitivity of the receiving coil: brighter towards one side.

    Shape: -> (X, Y, 1)
    """
    x, y = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    return np.exp(rng.uniform(0.1, 0.45) * (x * np.cos(angle) + y * np.sin(angle)))[..., None]
