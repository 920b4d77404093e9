"""Random views of a labelled image for the detector's training: one warp moves pixels and objects alike.

Boxes are taken from the warped objects, so that they stay tight under rotation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amsam_monai.networks.prompts.boxes import instance_boxes


@dataclass(frozen=True)
class Scene:
    """A labelled image, small enough to keep many in memory.

    Args:
        image: 8-bit pixels.
        objects: 0 nothing, n the n-th object.
        classes: class of each object, 1..K.

    Shape: image (3, h, w), objects (h, w), classes (N,).
    """

    image: Tensor
    objects: Tensor
    classes: np.ndarray


@dataclass(frozen=True)
class Augmentation:
    """How far random views go; every number is a half-width around no change.

    Args:
        rotate: degrees.
        zoom: log2 of the scale.
        shift: share of the view's side.
        shear: tangent of the angle.
        flip_x: share of views mirrored left to right.
        flip_y: share of views mirrored top to bottom.
        light: brightness, contrast and saturation, as factors; also gamma.
        hue: gain of each colour channel.
        noise: standard deviation, in [0, 1] pixels.
    """

    rotate: float = 30.0
    zoom: float = 0.6
    shift: float = 0.15
    shear: float = 0.1
    flip_x: float = 0.5
    flip_y: float = 0.5
    light: float = 0.3
    hue: float = 0.08
    noise: float = 0.02


def random_view(
    scene: Scene, size: int, how: Augmentation, generator: torch.Generator, fill: float | Tensor
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """One view (3, S, S) in [0, 1], its objects' boxes (N, 4) in pixels, and their classes (N,) in 1..K.

    What lies outside the image takes `fill`, one value or a colour (3, 1, 1). Objects of which less than a quarter is
    left in view are dropped.
    """
    height, width = scene.objects.shape
    matrix = _random_matrix(height, width, size, how, generator)
    grid = F.affine_grid(matrix[None], [1, 1, size, size], align_corners=False)
    pixels = scene.image[None].float() / 255 - fill
    view = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0] + fill
    objects = F.grid_sample(
        scene.objects[None, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    numbered = objects[0, 0].round().to(torch.int32).numpy()
    boxes = instance_boxes(numbered, len(scene.classes))
    area = np.bincount(numbered.ravel(), minlength=len(scene.classes) + 1)[1:]
    whole = np.bincount(scene.objects.numpy().ravel(), minlength=len(scene.classes) + 1)[1:]
    magnification = (size * size) / (height * width) / float(matrix[:, :2].det().abs())
    seen = (area > 0) & (area >= 0.25 * whole * magnification)
    return _random_colour(view, how, generator), boxes[seen], scene.classes[seen]


def _random_matrix(height: int, width: int, size: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Output to input coordinates in [-1, 1] (2, 3): the whole image fits the view when nothing is random."""
    angle, zoom, shear_x, shear_y, dx, dy, flip_x, flip_y = (torch.rand(8, generator=generator) * 2 - 1).tolist()
    scale = 2 ** (zoom * how.zoom)
    turn = math.radians(angle * how.rotate)
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    shear = torch.tensor([[1.0, shear_x * how.shear], [shear_y * how.shear, 1.0]])
    mirror = torch.diag(
        torch.tensor([-1.0 if flip_x < 2 * how.flip_x - 1 else 1.0, -1.0 if flip_y < 2 * how.flip_y - 1 else 1.0])
    )
    longest = max(height, width)
    fit = torch.diag(torch.tensor([longest / width, longest / height]))
    linear = fit @ rotation @ shear @ mirror / scale
    offset = linear @ torch.tensor([dx, dy]) * 2 * how.shift
    return torch.cat([linear, offset[:, None]], dim=1)


def _random_colour(view: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    draws = torch.rand(8, generator=generator) * 2 - 1
    brightness, contrast, saturation, gamma = (1 + how.light * draws[:4]).tolist()
    view = view * (1 + how.hue * draws[4:7]).reshape(3, 1, 1)
    grey = view.mean(dim=0, keepdim=True)
    view = grey + saturation * (view - grey)
    view = (view - view.mean()) * contrast + view.mean() * brightness
    view = view.clamp(0, 1) ** gamma
    if how.noise > 0:
        sigma = how.noise * float(draws[7].abs())
        view = view + sigma * torch.randn(view.shape, generator=generator)
    return view.clamp(0, 1)
