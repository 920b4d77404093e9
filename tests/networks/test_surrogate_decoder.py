import pytest
import torch

from amsam_monai.networks.prompts.surrogate_decoder import SurrogateDecoder


def test_it_has_the_published_number_of_parameters():
    assert sum(parameter.numel() for parameter in SurrogateDecoder().parameters()) == 151_809


@torch.no_grad()
def test_masks_have_four_times_the_grid():
    assert SurrogateDecoder()(torch.zeros(2, 256, 8, 8)).shape == (2, 1, 32, 32)


@torch.no_grad()
def test_classes_are_decoded_alike():
    torch.manual_seed(0)
    h = SurrogateDecoder()
    dense = torch.randn(2, 3 * 256, 4, 4)
    alone = torch.cat([h(part) for part in dense.split(256, dim=1)], dim=1)
    torch.testing.assert_close(h(dense), alone)


def test_channels_that_are_no_whole_prompts_are_refused():
    with pytest.raises(ValueError, match=r"dense must have K\*256 channels, got 300"):
        SurrogateDecoder()(torch.zeros(1, 300, 4, 4))
