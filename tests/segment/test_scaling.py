"""Intensities of slices that have their own."""

import numpy as np
import torch
from monai.data import MetaTensor

from amsam_monai.segment.scaling import ScaleImaged
from amsam_monai.transforms.intensity import Intensity


def test_slices_are_scaled_along_the_axis_that_the_network_sees():
    volume = torch.arange(24.0).reshape(1, 2, 3, 4)
    scaled = ScaleImaged({"mode": "min_max", "per": "slice"}, {"axis": 1})({"image": volume})["image"]
    for number in range(3):
        expected = Intensity("min_max")(volume[:, :, number])
        torch.testing.assert_close(scaled[:, :, number], expected)


def test_the_affine_says_which_slices_are_thickest():
    volume = MetaTensor(torch.arange(24.0).reshape(1, 2, 3, 4), affine=torch.diag(torch.tensor([5.0, 1, 1, 1])))
    scaled = ScaleImaged({"mode": "min_max", "per": "slice"}, {})({"image": volume})["image"]
    assert np.asarray(scaled).min((0, 2, 3)).tolist() == [0, 0]
    assert np.asarray(scaled).max((0, 2, 3)).tolist() == [1, 1]


def test_volumes_are_scaled_as_a_whole_unless_asked():
    volume = torch.arange(24.0).reshape(1, 2, 3, 4)
    scaled = ScaleImaged({"mode": "min_max"}, {"axis": 1})({"image": volume})["image"]
    torch.testing.assert_close(scaled, volume / 23)
