import pytest
import torch

from amsam_monai.transforms.sam_input import SAM_MEAN, SquareImaged
from amsam_monai.transforms.views import FlippedViews, flip_and_turn


def sample():
    image = torch.rand(3, 4, 6)
    return {"image": image, "label": (image[:1] > 0.5).long(), "case_id": "a"}


def test_eight_views_are_eight_pictures_and_view_zero_is_the_first():
    array = torch.arange(6).reshape(1, 2, 3)
    views = [flip_and_turn(array, view) for view in range(8)]
    assert torch.equal(views[0], array)
    assert len({str(view.tolist()) for view in views}) == 8


@pytest.mark.parametrize("view", range(8))
def test_turning_then_framing_equals_framing_then_turning(view):
    square = SquareImaged(size=6)
    torch.manual_seed(0)
    one = sample()
    turned = {key: flip_and_turn(one[key], view) for key in ("image", "label")}
    wanted, got = square(turned), FlippedViews()(square(one), view)
    torch.testing.assert_close(got["image"], wanted["image"])
    assert torch.equal(got["label"], wanted["label"])
    assert got["case_id"] == "a"


def test_the_padding_takes_the_fill_colour():
    turned = FlippedViews()(SquareImaged(size=6)(sample()), 3)
    torch.testing.assert_close(turned["image"][:, -1, -1], torch.tensor(SAM_MEAN))
    assert (turned["label"][:, 4:] == 255).all()


def test_a_ninth_view_is_refused():
    with pytest.raises(ValueError, match=r"view must lie in 0..7, got 8"):
        FlippedViews()(SquareImaged(size=6)(sample()), 8)
