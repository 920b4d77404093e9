"""Several boxes of a class in requests, without a server: added, moved and deleted by sending those that are left."""

import numpy as np
import pytest
import torch

from amsam_monai.label_app.service import BundleService
from amsam_monai.networks.prompts import Prompts
from tests.label_app.boxes import FIRST, SECOND, asked, overlap, save_rectangles, write_cells_bundle
from tests.label_app.nano_bundle import write_nano_bundle


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return save_rectangles(tmp_path_factory.mktemp("studies") / "two.png")


@pytest.fixture
def service(tmp_path):
    return BundleService(write_cells_bundle(tmp_path))


def corners(params, name="cell"):
    return [tuple(tuple(round(v) for v in corner[:2]) for corner in box) for box in params["boxes"][name]]


def test_boxes_are_added_moved_and_deleted_by_sending_all_that_are_left(service, image):
    one = service.click("a", image, {"boxes": asked(FIRST)})
    assert overlap(one.label, FIRST) > 0.8
    both = service.click("a", image, {"boxes": asked(FIRST, SECOND)})
    assert overlap(both.label, FIRST, SECOND) > 0.8
    assert corners(both.params) == [FIRST, SECOND]
    assert len(both.params["box_quality"]["cell"]) == 2
    moved = service.click("a", image, {"boxes": asked(((8, 8), (27, 30)), SECOND)})
    assert overlap(moved.label, ((8, 8), (27, 30)), SECOND) > 0.8
    left = service.click("a", image, {"boxes": both.params["boxes"]["cell"][1:]})
    assert overlap(left.label, SECOND) > 0.8
    assert corners(left.params) == [SECOND]
    none = service.click("a", image, {"boxes": [], "slice": 0})
    assert corners(none.params) == []


def test_without_a_word_of_boxes_the_networks_own_count_again_and_a_roi_is_the_one_box(service, image):
    automatic = service.click("a", image, {"slice": 0}).label
    service.click("a", image, {"boxes": asked(FIRST, SECOND)})
    roi = service.click("a", image, {"roi": [36, 55, 8, 55, 0, 0]})
    assert corners(roi.params) == [SECOND]
    assert overlap(roi.label, SECOND) > 0.8
    np.testing.assert_array_equal(service.click("a", image, {"slice": 0}).label, automatic)


def test_a_point_in_a_box_is_that_objects(service, image):
    answer = service.click("a", image, {"boxes": asked(FIRST, SECOND), "foreground": [[45, 30, 0]]})
    assert [point["voxel"] for point in answer.params["points"]["cell"]] == [[45.0, 30.0, 0.0]]
    with service.session("a", image) as session:
        assert session.object_at("cell", (45, 30)) == 1
        boxes = torch.tensor([[[[8.0, 8, 28, 56], [36, 8, 56, 56]]]])
        prompts = Prompts(torch.tensor([[[[45.0, 30.0]]]]), torch.ones(1, 1, 1), object_boxes=boxes)
        wanted = session.net.segment(session.image.pixels(0), prompts)
    np.testing.assert_array_equal(answer.label, wanted.logits[0].argmax(0).numpy())


def test_classes_have_boxes_of_their_own_in_one_request(tmp_path, image):
    service = BundleService(write_cells_bundle(tmp_path, labels=("cell", "other")))
    answer = service.click(
        "a", image, {"cell": [], "other": [], "boxes": {"cell": asked(FIRST), "other": asked(SECOND)}}
    )
    assert overlap(answer.label == 1, FIRST) > 0.8
    assert overlap(answer.label == 2, SECOND) > 0.8


def test_a_network_of_one_box_a_class_refuses_several_and_changes_nothing(tmp_path, image):
    form = {"data_type": "png", "intensity": {"mode": "bit_depth"}}
    service = BundleService(write_nano_bundle(tmp_path, system="aisam", labels=("cell",), **form))
    first = service.click("a", image, {"boxes": asked(FIRST)})
    assert corners(first.params) == [FIRST]
    with pytest.raises(ValueError, match="this network takes one box a class in a slice, got 2"):
        service.click("a", image, {"boxes": asked(FIRST, SECOND), "foreground": [[1, 1, 0]]})
    with service.session("a", image) as session:
        assert [point for point in session.points("cell") if not point.automatic] == []
    np.testing.assert_array_equal(service.click("a", image, {"boxes": asked(FIRST)}).label, first.label)
