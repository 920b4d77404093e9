"""Prompts from Python: whole numbers are numbers, corners come in any order, and what lies outside is refused."""

import pytest
import torch

from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.settings import Settings
from amsam_monai.networks.prompts import Prompts

NANO = {"sam": {"backbone": "vit_nano", "weights": None, "image_size": 64}, "classes": {"liver": 1, "spleen": 2}}
SYSTEMS = {
    "amsam": {"system": "amsam"},
    "aisam": {"system": "aisam", "arguments": {"depth": 1, "num_points": 2, "encoder": "frozen", "gate": False}},
}


@pytest.fixture(scope="module", params=SYSTEMS)
def answer(request):
    """The logits of a system of random weights for prompts on one image of 60 x 40 pixels."""
    torch.manual_seed(0)
    network = build_network(Settings.of({**NANO, **SYSTEMS[request.param]})).eval()
    image = torch.rand(1, 3, 40, 60)

    def segment(**parts):
        with torch.no_grad():
            return network.segment(image, Prompts(**parts)).logits

    return segment


def box(*corners, dtype=torch.float32):
    return torch.tensor([[list(corners), list(corners)]], dtype=dtype)


def points(x, y, dtype=torch.float32):
    return {
        "points_xy": torch.tensor([[[[x, y]], [[x, y]]]], dtype=dtype),
        "point_labels": torch.ones(1, 2, 1, dtype=dtype),
    }


def test_whole_numbers_prompt_as_floats_do(answer):
    assert torch.equal(answer(box_xyxy=box(8, 4, 30, 20, dtype=torch.int64)), answer(box_xyxy=box(8, 4, 30, 20)))
    assert torch.equal(answer(**points(8, 4, torch.int32)), answer(**points(8, 4)))


def test_a_box_is_the_same_from_any_corner(answer):
    wanted = answer(box_xyxy=box(8, 4, 30, 20))
    assert torch.equal(answer(box_xyxy=box(30, 20, 8, 4)), wanted)
    assert torch.equal(answer(box_xyxy=box(30, 4, 8, 20)), wanted)
    assert not torch.equal(answer(box_xyxy=box(8, 4, 31, 20)), wanted)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"box_xyxy": box(float("inf"), 4, 30, 20)}, "box_xyxy must be finite, or NaN where absent, got infinite"),
        ({"box_xyxy": box(70, 4, 90, 20)}, "box_xyxy must cover some of the image of 60 x 40 pixels"),
        (points(float("-inf"), 4), "points_xy must be finite, or NaN where absent, got infinite"),
        (points(8, 400), "points_xy must lie in the image of 60 x 40 pixels, got some outside"),
    ],
)
def test_what_lies_outside_or_is_infinite_is_refused(answer, prompts, message):
    with pytest.raises(ValueError, match=message):
        answer(**prompts)
