import pytest
import torch
from torch import nn

from amsam_monai.framing import SquareFrame
from amsam_monai.losses import LowResLoss


class Seen(nn.Module):
    """A loss that gives the label it gets."""

    def forward(self, logits, label):
        return label


def test_the_label_is_sampled_on_the_grid_of_the_logits():
    label = torch.arange(16 * 16).reshape(1, 1, 16, 16) % 2
    label[..., :8, :] = 3
    seen = LowResLoss(Seen(), image_size=16)(torch.zeros(1, 2, 4, 4), label)
    assert seen.shape == (1, 1, 4, 4)
    assert (seen[..., :2, :] == 3).all()
    assert (seen[..., 2:, :] == 0).all()


def test_padding_is_ignored_and_the_crop_is_the_system_s():
    label = torch.ones(1, 1, 9, 16, dtype=torch.long)
    frame = SquareFrame(9, 16, 16)
    logits = frame.crop(torch.zeros(1, 2, 8, 8))  # ceil(9 / 2) = 5 rows
    seen = LowResLoss(Seen(), image_size=16)(logits, label)
    assert seen.shape[-2:] == logits.shape[-2:] == (5, 8)
    assert (seen[..., :4, :] == 1).all()
    assert (seen[..., 4, :] == 255).all()  # its centre, row 9 of the square, lies in the padding


def test_a_stretched_image_fills_the_square():
    label = torch.ones(1, 1, 9, 16, dtype=torch.long)
    assert (LowResLoss(Seen(), image_size=16, resize="stretch")(torch.zeros(1, 2, 8, 8), label) == 1).all()


def test_logits_of_another_frame_are_refused():
    with pytest.raises(ValueError, match="ask the network for low_res"):
        LowResLoss(Seen(), image_size=16)(torch.zeros(1, 2, 9, 16), torch.ones(1, 1, 4, 16))


def test_without_an_image_size_the_label_is_resized_to_the_logits():
    label = torch.arange(4).reshape(1, 1, 2, 2).float().repeat_interleave(4, -1).repeat_interleave(4, -2)
    seen = LowResLoss(Seen())(torch.zeros(1, 2, 2, 2), label)
    assert seen.flatten().tolist() == [0, 1, 2, 3]
