"""Numpy's way into the square and back is PyTorch's."""

import numpy as np
import pytest
import torch

from amsam_monai.framing import SquareFrame
from amsam_monai.runtime.resizing import framed, restored
from amsam_monai.square import Square

SIZES = [(64, 64), (40, 90), (130, 70), (1, 7), (513, 380), (900, 37)]


@pytest.mark.parametrize("mode", ["pad", "stretch"])
@pytest.mark.parametrize("size", SIZES)
def test_an_image_comes_into_the_square_as_in_torch(size, mode):
    image, fill = np.random.default_rng(0).random((2, 3, *size), np.float32), np.float32([0.4, 0.5, 0.6])
    frame = SquareFrame(*size, 64, mode)
    wanted = frame.image(torch.from_numpy(image), fill.tolist())
    found = framed(image, Square(*size, 64, mode), fill)
    np.testing.assert_allclose(found, wanted.numpy(), atol=2e-6)


@pytest.mark.parametrize("mode", ["pad", "stretch"])
@pytest.mark.parametrize("size", SIZES)
def test_maps_come_back_as_in_torch(size, mode):
    logits = 20 * np.random.default_rng(0).standard_normal((2, 4, 16, 16), np.float32)
    wanted = SquareFrame(*size, 64, mode).restore(torch.from_numpy(logits))
    np.testing.assert_allclose(restored(logits, Square(*size, 64, mode)), wanted.numpy(), atol=2e-4)
