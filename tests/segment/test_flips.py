"""Averages over mirror images."""

from __future__ import annotations

import pytest
import torch

from amsam_monai.networks.prompts import Prompts, Segmentation
from amsam_monai.networks.prompts.boxes import class_boxes
from amsam_monai.networks.prompts.class_prompts import ClassPrompts
from amsam_monai.segment.flips import encode_flipped, flip_prompts, flip_sets, segment_flipped


class Painter:
    """Marks the box, and, one pixel each, the points that it is given."""

    def encode(self, image):
        return image.mean((1, 2, 3))

    def segment(self, image, prompts=None, embedding=None):
        logits = torch.zeros(1, 2, *image.shape[-2:])
        x1, y1, x2, y2 = prompts.box_xyxy[0, 0].long().tolist()
        logits[:, 1, y1:y2, x1:x2] = 2.0
        for x, y in prompts.points_xy[0, 0].long().tolist():
            logits[:, 1, y, x] = 5.0
        presence = image[:, 0, :1, 0]
        return Segmentation(logits, prompts, presence, presence)


def prompts():
    return ClassPrompts(
        points_xy=torch.tensor([[[[1.0, 4.0]]]]),
        point_labels=torch.ones(1, 1, 1),
        box_xyxy=torch.tensor([[[0.0, 1.0, 3.0, 2.0]]]),
        present=torch.ones(1, 1),
    )


@pytest.mark.parametrize("dims", [(-1,), (-2,), (-2, -1)])
def test_a_turned_image_with_turned_prompts_has_the_turned_mask(dims):
    image = torch.zeros(1, 3, 6, 8)
    turned = flip_prompts(prompts(), (6, 8), dims)
    assert turned.present is not None
    expected = Painter().segment(image, prompts()).logits
    torch.testing.assert_close(Painter().segment(image.flip(dims), turned).logits.flip(dims), expected)


def test_boxes_of_a_turned_label_are_the_turned_boxes():
    label = torch.zeros(1, 1, 6, 8, dtype=torch.long)
    label[..., 1:3, 2:7] = 1
    boxes = Prompts(box_xyxy=class_boxes(label, 2))  # the second class is absent: NaN
    for dims in flip_sets(["horizontal", "vertical"])[1:]:
        torch.testing.assert_close(
            flip_prompts(boxes, (6, 8), dims).box_xyxy, class_boxes(label.flip(dims), 2), equal_nan=True
        )


def test_probabilities_presence_and_quality_are_averaged():
    image = torch.arange(48.0).reshape(1, 1, 6, 8).expand(1, 3, 6, 8)
    answer = segment_flipped(Painter(), image, prompts(), flips=["horizontal", "vertical"])
    plain = Painter().segment(image, prompts())
    torch.testing.assert_close(answer.logits.softmax(1), plain.logits.softmax(1))  # the same mask four times
    corners = (0 + 7 + 40 + 47) / 4
    assert float(answer.presence) == float(answer.quality) == corners
    torch.testing.assert_close(answer.prompts.points_xy, prompts().points_xy)


def test_without_flips_it_is_the_network_itself():
    image = torch.rand(1, 3, 6, 8)
    torch.testing.assert_close(
        segment_flipped(Painter(), image, prompts()).logits, Painter().segment(image, prompts()).logits
    )
    assert len(encode_flipped(Painter().encode, image)) == 1
    assert len(encode_flipped(Painter().encode, image, ["vertical"])) == 2


def test_refusals():
    with pytest.raises(ValueError, match=r"flips must be among .*, got \['diagonal'\]"):
        flip_sets(["diagonal"])
    with pytest.raises(ValueError, match="must not go with a mask prompt"):
        flip_prompts(Prompts(mask=torch.zeros(1, 1, 4, 4)), (6, 8), [-1])
