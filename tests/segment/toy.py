"""A network whose answer is known by hand, and phantoms in every orientation."""

import itertools

import nibabel as nib
import numpy as np
import torch
from torch import nn

LABELS = {1: "bright", 2: "right_of_bright", 3: "below_bright"}
ORIENTATIONS = [
    "".join(letters) for order in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*order)
]


class Toy(nn.Module):
    """Class 1 where a pixel is above one half, 2 one pixel to its right, 3 one pixel below: a turned slice shows."""

    image_size = 16

    def __init__(self):
        super().__init__()
        self.calls = []

    def load_adapter_state_dict(self, state):
        if state:
            raise ValueError("a toy has no adapter.")

    def forward(self, image, *, embedding=None, prompts=None, low_res=False):
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"image must have shape (B, 3, H, W), got {tuple(image.shape)}.")
        self.calls.append(tuple(image.shape))
        bright = (image[:, 1] > 0.5).float()
        right = torch.zeros_like(bright)
        right[..., 1:] = bright[..., :-1]
        below = torch.zeros_like(bright)
        below[..., 1:, :] = bright[..., :-1, :]
        background = torch.full_like(bright, 0.5)
        return torch.stack([background, 4 * bright, 2 * right, below], dim=1)


def toy_system(sam, *, num_classes, resize):
    """`Toy` as `build_network` builds systems."""
    return Toy()


def oblique(shape, spacing, angles=(0.2, -0.15, 0.1), origin=(-31.0, 17.0, 5.5)):
    """An affine near RAS, turned by three angles about the volume's own axes."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        cosine, sine = np.cos(angle), np.sin(angle)
        first, second = [other for other in range(3) if other != axis]
        step = np.eye(3)
        step[first, first] = step[second, second] = cosine
        step[first, second], step[second, first] = -sine, sine
        turn = turn @ step
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing)
    affine[:3, 3] = origin
    return affine


def phantom(shape=(12, 10, 6), affine=None, seed=0):
    """A RAS-like NIfTI of a lopsided bright blob and some specks."""
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 60, shape).astype(np.int16)
    voxels[2:5, 3:8, 1:4] = 200
    voxels[7:9, 1:3, min(2, shape[2] - 1) :] = 220
    voxels[rng.random(shape) < 0.02] = 240
    return nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0]) if affine is None else affine)


def stored_as(image, letters):
    """The same volume in world space with its axes stored in the order and direction of `letters`."""
    start = nib.io_orientation(image.affine)
    return image.as_reoriented(nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(letters)))
