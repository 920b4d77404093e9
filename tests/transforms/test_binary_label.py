import pytest
import torch

from amsam_monai.transforms.binary_label import BinaryLabeld


def label_of(mask, size=(4, 6)):
    return BinaryLabeld()({"image": torch.rand(3, *size), "label": mask})["label"]


@pytest.mark.parametrize("top", [1, 255])
def test_foreground_is_what_lies_above_half_of_the_largest_value(top):
    mask = torch.tensor([[0, top, top]]).repeat(2, 2)[None]
    assert label_of(mask, (2, 6)).tolist() == [[[0, 1, 1, 0, 1, 1]] * 2]


def test_jpeg_noise_stays_background():
    assert label_of(torch.tensor([[[3, 250], [7, 255]]]), (2, 2)).tolist() == [[[0, 1], [0, 1]]]


def test_an_empty_mask_stays_empty():
    assert label_of(torch.zeros(1, 4, 6, dtype=torch.uint8)).sum() == 0


def test_a_smaller_mask_of_the_same_aspect_is_resized():
    mask = torch.tensor([[[0, 0, 255], [0, 255, 255]]])
    assert torch.equal(label_of(mask), (mask > 0).long().repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_a_mask_of_another_aspect_is_refused():
    with pytest.raises(ValueError, match=r"label must have its image's aspect, got \(4, 4\) for an image of \(4, 6\)"):
        label_of(torch.ones(1, 4, 4))
