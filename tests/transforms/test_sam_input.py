import pytest
import torch
from monai.data import MetaTensor

from amsam_monai.transforms.sam_input import CheckUnitRanged, SquareImaged, ToThreeChannelsd, three_channels


def test_a_tall_image_is_padded_on_the_right_and_its_label_is_never_scored_there():
    sample = {"image": torch.ones(3, 8, 4), "label": torch.ones(1, 8, 4, dtype=torch.int64)}
    square = SquareImaged(size=4, fill=(0.1, 0.2, 0.3))(sample)
    assert square["image"].shape == (3, 4, 4)
    assert (square["image"][:, :, :2] == 1).all()
    assert square["image"][:, 0, 3].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert square["label"].dtype == torch.int64
    assert square["label"][0].tolist() == [[1, 1, 255, 255]] * 4


def test_stretching_leaves_no_padding():
    square = SquareImaged(size=4, mode="stretch")({"image": torch.ones(3, 8, 4), "label": torch.ones(1, 8, 4)})
    assert (square["image"] == 1).all()
    assert (square["label"] == 1).all()


def test_meta_data_stays_with_the_image():
    image = MetaTensor(torch.ones(3, 8, 4), meta={"filename_or_obj": "a.png"})
    square = SquareImaged(keys="image", size=4, fill=0.5)({"image": image})
    assert square["image"].meta["filename_or_obj"] == "a.png"
    assert square["image"][:, 0, 3].tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"image": torch.ones(3, 8, 4), "label": torch.ones(1, 4, 2)}, "one height and width"),
        ({"image": torch.ones(8, 4), "label": torch.ones(1, 8, 4)}, r"image must have shape \(C, H, W\)"),
    ],
)
def test_entries_that_do_not_fit_are_refused(sample, message):
    with pytest.raises(ValueError, match=message):
        SquareImaged(size=4)(sample)


def test_grey_is_repeated_and_alpha_dropped():
    assert three_channels(torch.rand(1, 4, 5)).shape == (3, 4, 5)
    assert ToThreeChannelsd()({"image": torch.rand(4, 4, 5)})["image"].shape == (3, 4, 5)
    with pytest.raises(ValueError, match="1, 3 or 4 channels first"):
        three_channels(torch.rand(4, 5))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_values_outside_the_unit_range_are_refused(value):
    image = torch.full((3, 2, 2), 0.5)
    assert CheckUnitRanged()({"image": image})["image"] is image
    image[0, 0, 0] = value
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        CheckUnitRanged()({"image": image})
    with pytest.raises(TypeError, match="floating-point"):
        CheckUnitRanged()({"image": image.to(torch.uint8)})
