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


def test_all_boxes_of_a_person_are_set_at_once_with_or_without_the_networks_own(image):
    session = opened(image, LEFT, RIGHT)
    assert session.set_boxes("cell", [THIRD, LEFT]) == [0]
    assert rounded(session.boxes("cell", 0)) == [THIRD, LEFT]
    session.segment(0)
    assert np.array_equal(session.label, answer(session, THIRD, LEFT))
    assert session.set_boxes("cell", [THIRD, LEFT]) == []
    assert session.set_boxes("cell", [THIRD], keep_automatic=True) == [0]
    assert rounded(session.boxes("cell", 0)) == [LEFT, RIGHT, THIRD]
    session.undo()
    assert rounded(session.boxes("cell", 0)) == [THIRD, LEFT]
    assert session.set_boxes("cell", [], empty=[0]) == [0]
    assert session.boxes("cell", 0) == []
    assert session.set_boxes("cell", []) == [0]
    session.segment(0)
    assert rounded(session.boxes("cell", 0)) == [LEFT, RIGHT]


def test_boxes_of_a_volume_go_into_each_slice_between_their_corners():
    session = InteractiveSession(build(objects="all"), {1: "cell"}, intensity={"mode": "percentile"})
    session.open(np.random.default_rng(0).normal(size=(40, 36, 5)), affine=np.diag([1.0, 1.0, 3.0, 1.0]))
    first, second = ((2, 3, 1), (12, 9, 3)), ((20, 20, 3), (30, 30, 3))
    assert session.set_boxes("cell", [first, second]) == [1, 2, 3]
    assert [len(session.boxes("cell", number)) for number in range(5)] == [0, 1, 1, 2, 0]
    assert session.boxes("cell", 2) == [((2, 3, 2), (12, 9, 2))]
    assert session.set_boxes("cell", [second], empty=[1]) == [1, 2, 3]
    assert [len(session.boxes("cell", number)) for number in range(5)] == [0, 0, 0, 1, 0]


def test_a_point_tells_whose_it_is(image):
    session = opened(image, LEFT, RIGHT)
    session.add_box("cell", (2, 2), (62, 62))
    assert [session.object_at("cell", place) for place in ((4, 8), (25, 33), (40, 30), (30, 10))] == [0, 0, 1, 2]
    assert session.object_at("cell", (0, 0)) is None


def test_each_objects_quality_is_told(image):
    session = opened(image, LEFT, RIGHT)
    found = session.net.segment(session.image.pixels(0)).objects.quality[0, 0, :2].tolist()
    assert session.box_quality("cell", 0) == pytest.approx(found, abs=1e-4)
    session.add_box("cell", *THIRD)
    assert session.box_quality("cell", 0) == [None] * 3  # not answered yet
    session.segment(0)
    assert session.box_quality("cell", 0)[:2] == pytest.approx(found, abs=1e-3)
    assert session.box_quality("cell", 0)[2] is not None


def test_a_class_that_was_not_decoded_anew_keeps_its_objects_quality(image):
    net = build(FixedObjects([edges(LEFT), edges(RIGHT)], [edges(THIRD)]), objects="all", num_classes=2)
    session = InteractiveSession(net, {1: "cell", 2: "other"})
    session.open(image)
    session.segment(0)
    before = session.box_quality("cell", 0)
    session.add_point("other", (10, 50))
    session.segment(0)
    assert session.box_quality("cell", 0) == before
    assert None not in before


def test_a_class_has_objects_by_its_network_or_by_its_person(image):
    several, one = opened(image, LEFT), opened(image, LEFT)
    one.net.several = [False]
    assert (several.has_objects("cell", 0), one.has_objects("cell", 0)) == (True, False)
    several.set_box("cell", *THIRD)
    one.add_box("cell", *THIRD)
    assert (several.has_objects("cell", 0), one.has_objects("cell", 0)) == (False, True)


def test_the_least_box_of_a_session_is_a_pixel_so_that_none_has_no_area(image, caplog):
    session = opened(image, LEFT)
    session.add_box("cell", (50, 40), (50, 40))
    session.segment(0)
    assert np.array_equal(session.label, answer(session, LEFT, ((50, 40), (50, 40))))
    assert caplog.text == ""


def test_a_detectors_box_without_area_is_no_object_of_the_session(image, caplog):
    net = build(FixedObjects([edges(LEFT), [20.0, 30.0, 20.0, 50.0]]), objects="all")
    session = InteractiveSession(net, {1: "cell"})
    session.open(image)
    session.segment(0)
    assert rounded(session.boxes("cell", 0)) == [LEFT]
    assert "a box of class 1 in image 0 has no area and is left out" in caplog.text


class TestDarkRectangles:
    """Two dark rectangles on a bright picture, whose masks are the dark object in each box."""

    BOXES = ((8, 8), (27, 55)), ((36, 8), (55, 55))

    @pytest.fixture
    def session(self):
        picture = np.full((64, 64, 3), 210, np.uint8)
        for (x1, y1), (x2, y2) in self.BOXES:
            picture[y1 : y2 + 1, x1 : x2 + 1] = 60
        session = InteractiveSession(build(objects="all", dark_object_weight=0.95), {1: "box"})
        session.open(picture)
        return session

    def overlap(self, session, *boxes):
        wanted = np.zeros((64, 64), bool)
        for (x1, y1), (x2, y2) in boxes:
            wanted[y1 : y2 + 1, x1 : x2 + 1] = True
        found = session.label == 1
        return (found & wanted).sum() / (found | wanted).sum()

    def test_two_boxes_give_both_and_without_one_the_other(self, session):
        session.set_boxes("box", self.BOXES)
        session.segment(0)
        assert self.overlap(session, *self.BOXES) > 0.8
        session.remove_box("box", 0, 0)
        session.segment(0)
        assert self.overlap(session, self.BOXES[1]) > 0.8

    def test_three_overlapping_boxes_of_one_rectangle_give_it_alone(self, session):
        session.set_boxes("box", [self.BOXES[0], ((6, 8), (27, 50)), ((8, 12), (29, 57))])
        session.segment(0)
        assert self.overlap(session, self.BOXES[0]) > 0.8


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
    with pytest.raises(ValueError, match="this network takes one box a class in a slice, got 2"):
        plain.set_boxes("cell", [LEFT, THIRD])
    assert plain.set_boxes("cell", [LEFT]) == [0]
    assert rounded(plain.boxes("cell", 0)) == [LEFT]
    with pytest.raises(ValueError, match="voxel must lie in the image"):
        session.set_boxes("cell", [(LEFT[0], (64, 10))])
