"""Boxes from label maps, with answers counted by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amsam_monai.networks.prompts.boxes import (
    box_iou,
    class_boxes,
    instance_boxes,
    instances_of,
    jitter_boxes,
    match_jitter,
    scale_for_iou,
)


def two_squares() -> np.ndarray:
    """Class 1 in rows 1-2, columns 3-5 and, apart from it, row 7, column 0; class 2 in row 9, columns 8-9."""
    label = np.zeros((10, 12), np.int64)
    label[1:3, 3:6] = 1
    label[7, 0] = 1
    label[9, 8:10] = 2
    return label


def test_a_class_box_holds_all_pixels_of_the_class_and_ends_at_their_far_edge():
    boxes = class_boxes(torch.from_numpy(two_squares())[None, None], 2)
    assert boxes.tolist() == [[[0, 1, 6, 8], [8, 9, 10, 10]]]


def test_an_absent_class_gives_nan():
    boxes = class_boxes(torch.zeros(2, 1, 4, 4, dtype=torch.long), 3)
    assert boxes.shape == (2, 3, 4)
    assert boxes.isnan().all()


def test_ignored_pixels_are_in_no_box():
    label = torch.from_numpy(two_squares())[None, None]
    label[..., 0, :] = 255
    assert torch.equal(class_boxes(label, 2), class_boxes(torch.from_numpy(two_squares())[None, None], 2))
    numbered, classes = instances_of(label[0, 0].numpy(), 2)
    assert numbered.max() == 2
    assert classes.tolist() == [1, 2]


def test_a_label_without_its_channel_is_refused():
    with pytest.raises(ValueError, match=r"label must have shape \(B, 1, H, W\)"):
        class_boxes(torch.zeros(4, 4), 1)


def test_objects_are_counted_per_component_or_per_class():
    numbered, classes = instances_of(two_squares(), 2, per="component")
    assert classes.tolist() == [1, 1, 2]
    assert instance_boxes(numbered, 3).tolist() == [[3, 1, 6, 3], [0, 7, 1, 8], [8, 9, 10, 10]]
    assert instances_of(two_squares(), 2, per="class")[1].tolist() == [1, 2]


def test_specks_are_left_out_on_request():
    numbered, classes = instances_of(two_squares(), 2, per="component", min_pixels=2)
    assert classes.tolist() == [1, 2]
    assert numbered[7, 0] == 0


def test_pixels_that_touch_at_a_corner_are_one_component():
    assert instances_of(np.eye(3, dtype=np.int64), 1, per="component")[1].tolist() == [1]


def test_an_object_that_is_gone_has_no_box():
    assert np.isnan(instance_boxes(np.zeros((3, 3), np.int16), 1)).all()


def test_an_unknown_kind_of_object_is_refused():
    with pytest.raises(ValueError, match=r"per must be 'class' or 'component', or one .*, got 'pixel'"):
        instances_of(two_squares(), 2, per="pixel")


def test_overlap_is_counted_by_hand():
    a = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4]])
    b = torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [4, 4, 8, 8], [torch.nan] * 4])
    assert box_iou(a, b).tolist() == pytest.approx([1, 8 / 24, 0, 0])


def test_boxes_do_not_move_without_jitter():
    box = torch.tensor([[1.0, 2, 5, 9]])
    assert torch.equal(jitter_boxes(box, scale=0.0), box)


def test_dropped_and_absent_boxes_are_nan():
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(2000, 1)
    jittered = jitter_boxes(boxes, torch.Generator().manual_seed(0), scale=0.1, p_drop=0.25)
    assert float(jittered.isnan().all(-1).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert jitter_boxes(torch.full((3, 4), torch.nan), scale=0.1).isnan().all()


def test_jitter_is_in_shares_of_each_side():
    boxes = torch.tensor([[0.0, 0, 100, 10]]).repeat(4000, 1)
    moved = jitter_boxes(boxes, torch.Generator().manual_seed(0), scale=0.05) - boxes
    assert moved.std(0).tolist() == pytest.approx([5, 0.5, 5, 0.5], rel=0.05)


def test_wild_boxes_move_further():
    boxes = torch.tensor([[0.0, 0, 100, 100]]).repeat(4000, 1)
    moved = jitter_boxes(boxes, torch.Generator().manual_seed(0), scale=0.02, p_wild=0.5) - boxes
    assert float(moved.var()) == pytest.approx((2**2 + 8**2) / 2, rel=0.1)


def test_jitter_matches_a_detector_that_misses_one_and_is_wrong_once():
    found = match_jitter(torch.tensor([0.8, 0.8, 0.8, 0.8, 0.1, 0.0, 0.8, 0.8]))
    assert (found["p_drop"], found["p_wild"]) == (1 / 8, 1 / 8)
    assert found["scale"] == pytest.approx(scale_for_iou(0.8))
    with pytest.raises(ValueError, match="overlaps must hold at least one value"):
        match_jitter(torch.tensor([]))


@settings(max_examples=10, deadline=None)
@given(st.floats(0.3, 0.95))
def test_the_scale_for_an_overlap_gives_that_overlap(wanted):
    boxes = torch.tensor([[10.0, 20, 50, 40]]).repeat(4000, 1)
    jittered = jitter_boxes(boxes, torch.Generator().manual_seed(1), scale=scale_for_iou(wanted))
    assert float(box_iou(jittered, boxes).mean()) == pytest.approx(wanted, abs=0.02)
    assert (jittered[:, 2:] >= jittered[:, :2]).all()


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"p_drop and p_wild in \[0, 1\]"):
        jitter_boxes(torch.zeros(1, 4), p_drop=2)
    with pytest.raises(ValueError, match=r"mean_iou must lie in \(0, 1\]"):
        scale_for_iou(0)
