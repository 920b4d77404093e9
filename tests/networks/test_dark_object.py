"""The object that stands out dark around a box."""

import pytest
import torch

from amsam_monai.networks.detector.dark_object import SURE, dark_boxes, dark_masks, otsu
from amsam_monai.networks.prompts.boxes import box_iou

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


def test_the_map_of_a_dark_object_covers_it_and_nothing_else():
    image = lesion(hair=True)
    y, x = torch.meshgrid(torch.arange(160) + 0.5, torch.arange(240) + 0.5, indexing="ij")
    true = ((x - 90) / 30) ** 2 + ((y - 75) / 25) ** 2 <= 1
    logits = dark_masks(image[None], TRUE.reshape(1, 1, 4), (160, 240))[0, 0]
    assert logits.abs().max() <= SURE
    inside = logits > 0
    assert 2 * (inside & true).sum() / (inside.sum() + true.sum()) > 0.93
    small = dark_masks(image[None], TRUE.reshape(1, 1, 4), (40, 60))[0, 0] > 0
    assert small.sum() * 16 == pytest.approx(int(inside.sum()), rel=0.05)


def test_the_map_stays_within_its_box():
    half = torch.tensor([60.0, 50.0, 90.0, 100.0])  # a person's, round the left half
    columns = (dark_masks(lesion()[None], half.reshape(1, 1, 4), (160, 240))[0, 0] > 0).any(0).nonzero()
    assert columns.min() < 64
    assert columns.max() < 90 + 0.1 * 30


def test_there_is_no_map_without_a_box_or_where_nothing_is_darker():
    boxes = torch.tensor([[[20.0, 20.0, 90.0, 90.0], [torch.nan] * 4]])
    assert dark_masks(torch.full((1, 3, 100, 120), 0.8), boxes, (25, 30)).isnan().all()


@pytest.mark.parametrize("function", [dark_boxes, lambda *arguments: dark_masks(*arguments, (8, 8))])
def test_boxes_of_other_images_are_refused(function):
    with pytest.raises(ValueError, match=r"image must be \(B, 3, H, W\) and boxes \(B, K, 4\)"):
        function(lesion()[None], torch.zeros(2, 1, 4))


def test_otsu_parts_two_groups_between_them():
    values = torch.cat([torch.linspace(0, 1, 50), torch.linspace(4, 5, 50)]).numpy()
    assert 0.9 < otsu(values) < 4
