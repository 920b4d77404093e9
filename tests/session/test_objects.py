"""Several boxes of a class in a slice: added, moved and removed one by one, undone, saved, and answered as objects."""

import numpy as np
import pytest
import torch

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.session.session import InteractiveSession
from tests.networks.test_objects import FixedObjects, build

LEFT, RIGHT, THIRD = ((4, 8), (25, 33)), ((36, 20), (59, 51)), ((2, 40), (20, 60))  # corner voxels of a picture


def edges(box):
    (x1, y1), (x2, y2) = box
    return [x1, y1, x2 + 1, y2 + 1]


def rounded(boxes):
    """Corners as column and row; a picture's third place is 0."""
    return [tuple(tuple(round(place) for place in corner[:2]) for corner in box) for box in boxes]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


def opened(image, *boxes, **settings):
    net = build(FixedObjects([edges(box) for box in boxes]), objects="all", **settings)
    session = InteractiveSession(net, {1: "cell"})
    session.open(image)
    session.segment(0)
    return session


def answer(session, *boxes):
    """The mask of the network itself with these boxes."""
    pixels = session.image.pixels(0)
    prompts = Prompts(object_boxes=torch.tensor([edges(box) for box in boxes]).float()[None, None])
    return session.net.segment(pixels, prompts).logits[0].argmax(0).numpy()


def test_the_networks_own_objects_are_listed(image):
    session = opened(image, LEFT, RIGHT)
    assert rounded(session.boxes("cell", 0)) == [LEFT, RIGHT]
    assert rounded([session.box("cell", 0)]) == [LEFT]
    assert np.array_equal(session.label, answer(session, LEFT, RIGHT))


def test_boxes_are_added_moved_and_removed_one_by_one(image):
    session = opened(image, LEFT, RIGHT)
    assert session.add_box("cell", *THIRD) == [0]
    assert rounded(session.boxes("cell", 0)) == [LEFT, RIGHT, THIRD]
    session.segment(0)
    assert np.array_equal(session.label, answer(session, LEFT, RIGHT, THIRD))
    session.move_box("cell", 0, 1, (30, 20), (59, 51))
    session.segment(0)
    assert np.array_equal(session.label, answer(session, LEFT, ((30, 20), (59, 51)), THIRD))
    session.remove_box("cell", 0, 0)
    session.segment(0)
    assert rounded(session.boxes("cell", 0)) == [((30, 20), (59, 51)), THIRD]
    assert np.array_equal(session.label, answer(session, ((30, 20), (59, 51)), THIRD))
    session.undo()
    session.segment(0)
    assert len(session.boxes("cell", 0)) == 3
    assert session.drop_boxes("cell") == [0]
    session.segment(0)
    assert rounded(session.boxes("cell", 0)) == [LEFT, RIGHT]


def test_one_box_for_the_class_takes_the_place_of_all_as_viewers_send_it(image):
    session = opened(image, LEFT, RIGHT)
    session.set_box("cell", *THIRD)
    result = session.segment(0)
    assert rounded(session.boxes("cell", 0)) == [THIRD]
    assert np.array_equal(session.label, answer(session, THIRD))
    assert rounded([result.boxes["cell"]]) == [THIRD]
    session.add_box("cell", *LEFT)
    assert rounded(session.boxes("cell", 0)) == [THIRD, LEFT]


def test_a_point_belongs_to_the_object_whose_box_holds_it(image):
    session = opened(image, LEFT, RIGHT)
    session.add_point("cell", (10, 20))
    session.segment(0)
    boxes = torch.tensor([edges(LEFT), edges(RIGHT)]).float()[None, None]
    point = Prompts(torch.tensor([[[[10.0, 20.0]]]]), torch.ones(1, 1, 1), object_boxes=boxes)
    found = session.net.segment(session.image.pixels(0), point)
    assert np.array_equal(session.label, found.logits[0].argmax(0).numpy())
    alone = session.net.segment(session.image.pixels(0), Prompts(object_boxes=boxes))
    torch.testing.assert_close(found.objects.logits[0, 0, 1], alone.objects.logits[0, 0, 1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found.objects.logits[0, 0, 0], alone.objects.logits[0, 0, 0], atol=1e-4)


def test_boxes_are_kept_with_the_session(image, tmp_path):
    session = opened(image, LEFT, RIGHT)
    session.add_box("cell", *THIRD)
    session.segment(0)
    session.save(tmp_path / "mask.png")
    again = opened(image, LEFT, RIGHT)
    again.open(image, state=tmp_path / "mask.png")
    assert rounded(again.boxes("cell", 0)) == [LEFT, RIGHT, THIRD]
    again.segment(0)
    assert np.array_equal(again.label, session.label)


def test_mirror_images_take_part(image):
    net = build(FixedObjects([edges(LEFT)]), objects="all")
    session = InteractiveSession(net, {1: "cell"}, slices={"flips": ["horizontal"]})
    session.open(image)
    session.segment(0)
    session.add_box("cell", *THIRD)
    session.segment(0)
    pixels = session.image.pixels(0)
    boxes = torch.tensor([edges(LEFT), edges(THIRD)]).float()[None, None]
    mirrored = boxes.clone()
    mirrored[..., [0, 2]] = 64 - boxes[..., [2, 0]]
    first = net.segment(pixels, Prompts(object_boxes=boxes)).logits.softmax(1)
    second = net.segment(pixels.flip(-1), Prompts(object_boxes=mirrored)).logits.softmax(1).flip(-1)
    assert np.array_equal(session.label, (first + second)[0].argmax(0).numpy())


def test_what_cannot_be_is_refused(image):
    session = opened(image, LEFT)
    with pytest.raises(ValueError, match="index must count one of 1 boxes, got 1"):
        session.remove_box("cell", 0, 1)
    with pytest.raises(ValueError, match="index must count one of 1 boxes, got 3"):
        session.move_box("cell", 0, 3, *THIRD)
    plain = InteractiveSession(AISAM(build_sam("vit_nano", image_size=64), depth=1), {1: "cell"})
    plain.open(image)
    with pytest.raises(ValueError, match="this network takes one box a class; use set_box"):
        plain.add_box("cell", *THIRD)
