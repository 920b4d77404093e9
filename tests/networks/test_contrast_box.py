"""The object that stands out dark around a box."""

import pytest
import torch

from amsam_monai.networks.boxes import box_iou
from amsam_monai.networks.contrast_box import dark_boxes, otsu

TRUE = torch.tensor([60.0, 50.0, 120.0, 100.0])


def lesion(*, high=160, wide=240, black_corners=False, hair=False):
    """A brown ellipse, whose box is TRUE, on pink skin."""
    y, x = torch.meshgrid(torch.arange(high) + 0.5, torch.arange(wide) + 0.5, indexing="ij")
    inside = ((x - 90) / 30) ** 2 + ((y - 75) / 25) ** 2 <= 1
    image = torch.tensor([0.9, 0.7, 0.6])[:, None, None].expand(3, high, wide).clone()
    image[:, inside] = torch.tensor([0.5, 0.3, 0.2])[:, None]
    if black_corners:
        image[:, ((x - wide / 2) / (0.52 * wide)) ** 2 + ((y - high / 2) / (0.6 * high)) ** 2 > 1] = 0.02
    if hair:
        image[:, :, 40:42] = 0.1
        image[:, 30:32] = 0.1
    return image


def found(image, box):
    return dark_boxes(image[None], torch.as_tensor(box, dtype=torch.float32).reshape(1, 1, 4))[0, 0]


@pytest.mark.parametrize(
    "box", [[20, 20, 180, 140], [75, 62, 105, 88], [70, 60, 150, 130]], ids=["wide", "tight", "off"]
)
@pytest.mark.parametrize("look", [{}, {"black_corners": True}, {"hair": True}], ids=["plain", "lens", "hair"])
def test_a_box_moves_to_the_edges_of_the_dark_object(box, look):
    assert box_iou(torch.tensor(box), TRUE) < 0.6
    assert box_iou(found(lesion(**look), box), TRUE) > 0.85


def test_boxes_are_in_pixels_of_the_image_whatever_its_size():
    large = torch.nn.functional.interpolate(lesion()[None], scale_factor=4)[0]
    assert box_iou(found(large, [80, 80, 720, 560]), 4 * TRUE) > 0.85


def test_nothing_is_found_where_nothing_is_darker():
    box = torch.tensor([20.0, 20.0, 90.0, 90.0])
    assert torch.equal(found(torch.full((3, 100, 120), 0.8), box), box)


def test_no_box_stays_no_box_and_others_do_not_depend_on_their_batch_mates():
    boxes = torch.tensor([[[20.0, 20.0, 180.0, 140.0], [torch.nan] * 4]]).repeat(2, 1, 1)
    images = torch.stack([lesion(), torch.rand(3, 160, 240, generator=torch.Generator().manual_seed(0))])
    both = dark_boxes(images, boxes)
    assert both[:, 1].isnan().all()
    assert torch.equal(both[:1, :1], dark_boxes(images[:1], boxes[:1, :1]))


def test_boxes_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"image must be \(B, 3, H, W\) and boxes \(B, K, 4\)"):
        dark_boxes(lesion()[None], torch.zeros(2, 1, 4))


def test_otsu_parts_two_groups_between_them():
    values = torch.cat([torch.linspace(0, 1, 50), torch.linspace(4, 5, 50)]).numpy()
    assert 0.9 < otsu(values) < 4
