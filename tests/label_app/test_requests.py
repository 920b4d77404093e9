"""What clients send becomes prompts, or a message."""

import pytest

from amsam_monai.label_app.requests import parse_prompts, parse_roi
from amsam_monai.session.edits import SessionPoint

LABELS = ("liver", "spleen")
SHAPE = (40, 30, 10)
INSIDE = ((2.0, 5.0, 1.0), (8.0, 9.0, 3.0))


def test_slicers_deepgrow_request_is_read():
    request = {
        "label": "Liver",
        "foreground": [[1, 2, 3], [4, 5, 6]],
        "background": [[7, 8, 9]],
        "slice": 3,
        "reset_state": True,
    }
    parsed = parse_prompts(request, LABELS, SHAPE)
    assert parsed.label == "liver"
    assert parsed.points == {
        "liver": [SessionPoint((1, 2, 3)), SessionPoint((4, 5, 6)), SessionPoint((7, 8, 9), positive=False)]
    }
    assert (parsed.slice, parsed.reset, parsed.keep_automatic) == (3, True, True)


def test_deepedit_gives_each_label_its_points_and_background_against_all():
    parsed = parse_prompts({"liver": [[1, 2, 3]], "Spleen": [], "background": [[0, 0, 0]]}, LABELS, SHAPE)
    assert parsed.label is None
    negative = SessionPoint((0, 0, 0), positive=False)
    assert parsed.points == {"liver": [SessionPoint((1, 2, 3)), negative], "spleen": [negative]}


def test_ohifs_vista_request_is_read():
    parsed = parse_prompts(
        {"points": [[1, 2, 3], [4, 5, 6]], "point_labels": [1, 0], "label_prompt": [2]}, LABELS, SHAPE
    )
    assert parsed.points == {"spleen": [SessionPoint((1, 2, 3)), SessionPoint((4, 5, 6), positive=False)]}


def test_the_only_class_needs_no_name():
    assert parse_prompts({"foreground": "[[1, 2, 3]]"}, ("lesion",), SHAPE).label == "lesion"


@pytest.mark.parametrize(
    "roi",
    [
        [2, 8, 5, 9, 1, 3],
        [8, 2, 9, 5, 3, 1],  # an axis that the image stores backwards
        [8, 2, 5, 9, 3, 1],
        [[2, 5, 1], [8, 9, 3]],
        [[8, 5, 3], [2, 9, 1]],
    ],
)
def test_a_roi_is_sorted_whatever_its_ends(roi):
    assert parse_roi(roi, SHAPE) == INSIDE


def test_a_roi_of_corners_is_read_in_its_order():
    assert parse_roi([2, 5, 1, 8, 9, 3], SHAPE, "corners") == INSIDE
    assert parse_roi([30, 5, 1, 38, 9, 3], SHAPE) == ((30.0, 5.0, 1.0), (38.0, 9.0, 3.0))  # as pairs it lies outside


def test_a_roi_is_cut_at_the_image():
    assert parse_roi([-5, 8, 5, 99, 1, 3], SHAPE) == ((0.0, 5.0, 1.0), (8.0, 29.0, 3.0))


BOXES = [[[2, 5, 1], [8, 9, 3]], [[20, 5, 1], [25, 9, 1]]]
CORNERS = [INSIDE, ((20.0, 5.0, 1.0), (25.0, 9.0, 1.0))]


def test_boxes_of_objects_are_read_as_a_list_or_by_class_name():
    parsed = parse_prompts({"label": "spleen", "boxes": BOXES}, LABELS, SHAPE)
    assert (parsed.object_boxes, parsed.keep_boxes, parsed.boxes) == ({"spleen": CORNERS}, False, {})
    named = {"label": "spleen", "boxes": {"Spleen": BOXES}, "automatic_boxes": True}
    assert parse_prompts(named, LABELS, SHAPE).object_boxes == {"spleen": CORNERS}
    assert parse_prompts(named, LABELS, SHAPE).keep_boxes
    assert parse_prompts({"label": "liver", "boxes": "[]"}, LABELS, SHAPE).object_boxes == {"liver": []}
    edit = parse_prompts({"liver": [[1, 2, 3]], "boxes": {"spleen": BOXES, "liver": []}}, LABELS, SHAPE)
    assert (edit.label, edit.object_boxes) == (None, {"spleen": CORNERS, "liver": []})


def test_a_request_without_boxes_says_nothing_of_them():
    assert parse_prompts({"label": "liver", "foreground": [[1, 2, 3]]}, LABELS, SHAPE).object_boxes == {}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"label": "liver", "boxes": 3}, "boxes must be a list"),
        ({"label": "liver", "boxes": "{"}, "boxes must be a list of boxes, or such lists by class name"),
        ({"label": "liver", "boxes": [[1, 2, 3]]}, "boxes must hold pairs of corner voxels"),
        ({"label": "liver", "boxes": [[[1, 2, 3], [40, 2, 3]]]}, "boxes must hold voxels inside the image"),
        ({"label": "liver", "boxes": [[[1, 2, 3], 4]]}, "boxes must be a list of voxels"),
        ({"label": "liver", "boxes": {"lung": BOXES}}, "boxes must be of liver, spleen, got some of 'lung'"),
        ({"label": "liver", "boxes": {"spleen": BOXES}}, "boxes must be of the label liver"),
        ({"label": "liver", "boxes": BOXES * 600}, "boxes must hold at most 1000 boxes, got 1200"),
        ({"label": "liver", "boxes": BOXES, "roi": [2, 8, 5, 9, 1, 3]}, "roi must not come with boxes of the same"),
        ({"label": "lung"}, "label must be one of liver, spleen, got 'lung'"),
        ({"foreground": [[1, 2, 3]]}, "got none"),
        ({"label": "liver", "foreground": [[40, 2, 3]]}, "foreground must hold voxels inside the image"),
        ({"label": "liver", "foreground": [["a", 2, 3]]}, "must be numbers"),
        ({"label": "liver", "foreground": [1, 2, 3]}, "must be a list of voxels"),
        ({"label": "liver", "foreground": "nonsense"}, "must be a list"),
        ({"label": "liver", "foreground": 5}, "must be a list"),
        ({"label": "liver", "background": [[1, float("nan"), 3]]}, "must be numbers"),
        ({"label": "liver", "roi": [1, 2, 3]}, "roi must be"),
        ({"label": "liver", "roi": [1, float("inf"), 1, 2, 1, 2]}, "roi must be numbers"),
        ({"label": "liver", "slice": float("inf")}, "slice must be a number"),
        ({"label": "liver", "slice": float("nan")}, "slice must be a number"),
        ({"label": "liver", "roi": [50, 60, 50, 60, 50, 60]}, "roi must overlap"),
        ({"label": "liver", "slice": "x"}, "slice must be a number"),
        ({"points": [[1, 2, 3]], "point_labels": [], "label_prompt": [3]}, "label_prompt must be"),
    ],
)
def test_mistakes_are_named(request_, message):
    with pytest.raises(ValueError, match=message):
        parse_prompts(request_, LABELS, SHAPE)
