"""Dermoscopy-like lesions: what the ISIC sets look like, without a patient."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, gaussian_filter, label

from amsam_monai.phantoms.noise import Field, blob_distance, draw_curves, fractal_noise, smooth_noise

SKINS = ((0.86, 0.68, 0.58), (0.90, 0.76, 0.68), (0.80, 0.62, 0.48), (0.84, 0.60, 0.56), (0.86, 0.83, 0.83))
# How strongly a pigment absorbs red, green and blue: four browns, from light to bluish, and blood.
PIGMENTS = (
    (0.45, 1.0, 1.35),
    (0.60, 0.95, 1.2),
    (0.70, 1.1, 1.15),
    (0.60, 1.2, 1.75),
    (0.30, 1.0, 0.90),
)  # absorbed red, green, blue
STICKERS = ((0.10, 0.45, 0.80), (0.35, 0.80, 0.75), (0.85, 0.75, 0.20))
ASPECTS = (0.667, 0.75, 0.75, 0.8, 1.0)  # height / width


def skin_lesion(rng: Generator, side: int = 512) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One lesion on skin and its mask.

    Args:
        rng: source of everything random; the same state gives the same picture.
        side: pixels of the longer side.

    Shape: -> image (H, W, 3) 0..255, mask (H, W) 0 or 255.
    """
    shape_hw = round(side * rng.choice(ASPECTS)), side
    picture = paint_skin(rng, shape_hw)
    distance = lesion_distance(rng, shape_hw)
    picture = absorb(picture, freckles(rng, distance), PIGMENTS[0])
    picture = paint_lesion(rng, picture, distance)
    for draw, chance in ((add_sticker, 0.2), (add_pen_mark, 0.12), (add_ruler, 0.3), (add_bubbles, 0.25)):
        if rng.random() < chance:
            picture = draw(rng, picture, distance)
    picture = add_hairs(rng, picture)
    picture = add_light(rng, picture)
    picture = gaussian_filter(picture, (0.6, 0.6, 0)) + rng.normal(0, 0.012, picture.shape)
    mask = largest_piece(distance < 0)
    return (picture.clip(0, 1) * 255).astype(np.uint8), mask.astype(np.uint8) * 255


def paint_skin(rng: Generator, shape_hw: tuple[int, ...]) -> Field:
    """Bare skin with pores, furrows and redness.

    Shape: -> (H, W, 3)
    """
    base = np.array(SKINS[rng.integers(len(SKINS))], np.float32) * rng.uniform(0.85, 1.05)
    grain = 0.02 * fractal_noise(rng, shape_hw, shape_hw[1] / 90) + 0.03 * fractal_noise(rng, shape_hw, shape_hw[1] / 5)
    furrows = np.abs(smooth_noise(rng, shape_hw, shape_hw[1] / 50)) * rng.uniform(0, 0.03)
    picture = base * (1 + grain - furrows)[..., None]
    redness = np.clip(fractal_noise(rng, shape_hw, shape_hw[1] / 4), 0, None) * rng.uniform(0, 0.12)
    return absorb(picture, redness, (0.15, 1.0, 0.8))


def lesion_distance(rng: Generator, shape_hw: tuple[int, ...]) -> Field:
    """Signed distance to the outline of one lesion, wholly or nearly inside the picture.

    Shape: -> (H, W)
    """
    radius = min(shape_hw) * rng.uniform(0.11, 0.34)
    centre = [n / 2 + rng.uniform(-1, 1) * max(0.0, n / 2 - 1.25 * radius) * 0.7 for n in shape_hw]
    return blob_distance(rng, shape_hw, (centre[0], centre[1]), radius, rng.uniform(0.1, 0.35))


def paint_lesion(rng: Generator, picture: Field, distance: Field) -> Field:
    """Pigment in several shades with a border that is sharp here and fuzzy there.

    Shape: (H, W, 3), (H, W) -> (H, W, 3)
    """
    shape_hw, reach = distance.shape, max(1.0, -float(distance.min()))
    softness = reach * 0.03 * np.exp(0.8 * smooth_noise(rng, shape_hw, reach)) + 1.0
    inside = 1 / (1 + np.exp(np.clip(distance / softness, -30, 30)))
    shade = 1 + 0.3 * fractal_noise(rng, shape_hw, reach / 1.5) + 0.2 * fractal_noise(rng, shape_hw, reach / 8)
    network = np.abs(smooth_noise(rng, shape_hw, max(2.0, reach / 14))) * rng.uniform(0, 0.5)
    density = inside * np.clip(shade - network, 0.25, 2.5) * np.exp(rng.uniform(np.log(0.22), np.log(1.1)))
    picture = absorb(picture, density, PIGMENTS[rng.integers(len(PIGMENTS))])
    if rng.random() < 0.5:  # a darker or bluish part
        second = np.clip(smooth_noise(rng, shape_hw, reach), 0, None) * inside
        picture = absorb(picture, second * rng.uniform(0.1, 0.6), PIGMENTS[rng.integers(len(PIGMENTS))])
    halo = np.exp(-np.clip(distance, 0, None) / (reach * 0.25)) * (1 - inside) * rng.uniform(0, 0.12)
    return absorb(picture, halo, (0.1, 1.0, 0.8))


def freckles(rng: Generator, distance: Field) -> Field:
    """Density of small brown spots outside the lesion, which belong to the background.

    Shape: (H, W) -> (H, W)
    """
    shape_hw, density = distance.shape, np.zeros_like(distance)
    rows, columns = np.mgrid[: shape_hw[0], : shape_hw[1]].astype(np.float32)
    for _ in range(rng.integers(0, 14)):
        y, x = rng.uniform(0, shape_hw[0]), rng.uniform(0, shape_hw[1])
        radius = shape_hw[1] * rng.uniform(0.004, 0.022)
        near = np.exp(-(((rows - y) ** 2 + (columns - x) ** 2) / radius**2))
        density += near * rng.uniform(0.08, 0.45)
    ragged = np.clip(1 + 0.4 * smooth_noise(rng, shape_hw, shape_hw[1] / 85), 0, None)
    return density * ragged * (distance > 0.02 * shape_hw[1])


def absorb(picture: Field, density: Field, pigment: tuple[float, float, float]) -> Field:
    """Darken by a pigment: light falls off exponentially with its density.

    Shape: (H, W, 3), (H, W) -> (H, W, 3)
    """
    return picture * np.exp(-density[..., None] * np.array(pigment, np.float32))


def add_hairs(rng: Generator, picture: Field) -> Field:
    """None, few or many curved hairs, dark or fair, over everything."""
    height, width = picture.shape[:2]
    count = int(rng.choice([0, 4, 12, 35], p=[0.35, 0.3, 0.25, 0.1]))
    steps = np.linspace(-1, 1, 24)
    turn, curves, widths = rng.uniform(0, np.pi), [], []
    for _ in range(count):
        angle, length, bend = turn + rng.normal(0, 0.5), rng.uniform(0.15, 0.6) * width, rng.normal(0, 0.25)
        along, across = steps * length / 2, bend * length * (steps**2 - 0.3)
        x = rng.uniform(0, width) + along * np.cos(angle) - across * np.sin(angle)
        y = rng.uniform(0, height) + along * np.sin(angle) + across * np.cos(angle)
        curves.append(np.stack([x, y], 1))
        widths.append(width / 512 * rng.uniform(0.7, 2.2))
    cover = draw_curves((height, width), curves, widths)[..., None] * rng.uniform(0.5, 0.95)
    colour = np.array((0.16, 0.10, 0.07) if rng.random() < 0.8 else (0.62, 0.45, 0.30), np.float32)
    return picture * (1 - cover) + colour * cover


def add_light(rng: Generator, picture: Field) -> Field:
    """Uneven light, and the dark corners of a round lens."""
    rows, columns = np.mgrid[-1 : 1 : picture.shape[0] * 1j, -1 : 1 : picture.shape[1] * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = 1 + rng.uniform(0, 0.18) * (rows * np.sin(angle) + columns * np.cos(angle))
    radius = np.hypot(rows, columns)
    picture = picture * (slope * (1 - rng.uniform(0, 0.15) * radius**2))[..., None]
    if rng.random() < 0.35:
        edge = rng.uniform(0.95, 1.3)
        picture = picture / (1 + np.exp(np.clip((radius - edge) * 45, -30, 30)))[..., None]
    return picture


def add_sticker(rng: Generator, picture: Field, distance: Field) -> Field:
    """A coloured disc at the border, as clinics glue beside a lesion; never on the lesion."""
    height, width = distance.shape
    angle, radius = rng.uniform(0, 2 * np.pi), width * rng.uniform(0.12, 0.22)
    y, x = height / 2 + np.sin(angle) * height * 0.58, width / 2 + np.cos(angle) * width * 0.55
    rows, columns = np.mgrid[:height, :width]
    cover = np.clip(radius - np.hypot(rows - y, columns - x), 0, 1) * (distance > 0.03 * width)
    colour = np.array(STICKERS[rng.integers(len(STICKERS))]) * rng.uniform(0.8, 1.1)
    weave = 1 + 0.05 * smooth_noise(rng, distance.shape, 2.5)
    return picture * (1 - cover[..., None]) + colour * (cover * weave)[..., None]


def add_pen_mark(rng: Generator, picture: Field, distance: Field) -> Field:
    """A broken violet line of a surgical marker round the lesion."""
    gap = 0.06 * distance.shape[1] * rng.uniform(0.6, 1.4)
    line = np.exp(-(((gaussian_filter(distance, gap) - gap) / (0.012 * distance.shape[1])) ** 2))
    ink = line * np.clip(0.7 + 0.7 * smooth_noise(rng, distance.shape, distance.shape[1] / 36), 0, 1.2)
    return absorb(picture, ink * rng.uniform(0.4, 0.9), (1.0, 1.1, 0.45))


def add_ruler(rng: Generator, picture: Field, distance: Field) -> Field:
    """A millimetre scale near one edge."""
    height, width = distance.shape
    x0, x1, tilt = 0.25 * width, 0.7 * width, rng.normal(0, 0.15)
    y0 = height * (rng.uniform(0.05, 0.1) if rng.random() < 0.3 else rng.uniform(0.86, 0.93))
    xs = np.linspace(x0, x1, 31)
    ys = y0 + (xs - x0) * tilt * (1 if y0 < height / 2 else -1)
    ticks = [0.03 * height if k % 10 == 0 else 0.015 * height for k in range(31)]
    curves = [np.array([[x, y], [x, y - tick]]) for x, y, tick in zip(xs, ys, ticks, strict=True)]
    curves.append(np.array([[xs[0], ys[0]], [xs[-1], ys[-1]]]))
    cover = draw_curves((height, width), curves, [width / 512] * len(curves)) * 0.8
    return picture * (1 - cover[..., None])


def add_bubbles(rng: Generator, picture: Field, distance: Field) -> Field:
    """Air bubbles in the gel: a faint rim and a highlight."""
    height, width = distance.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(rng.integers(1, 7)):
        y, x, radius = rng.uniform(0, height), rng.uniform(0, width), width * rng.uniform(0.008, 0.035)
        away = np.hypot(rows - y, columns - x)
        rim = np.exp(-(((away - radius) / (0.15 * radius + 0.7)) ** 2))
        spot = np.exp(-(((rows - y + radius / 2) ** 2 + (columns - x + radius / 2) ** 2) / (0.25 * radius) ** 2))
        picture = picture * (1 - 0.18 * rim)[..., None] + 0.4 * spot[..., None]
    return picture


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask, its holes filled: one lesion, one outline."""
    pieces, count = label(mask)
    if count > 1:
        mask = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return binary_fill_holes(mask)
