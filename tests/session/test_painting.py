"""Voxels painted and erased by hand: exact, kept under later answers, undone, cleared and saved."""

import json

import numpy as np
import pytest

from amsam_monai.session.strokes import track_of
from tests.segment.toy_net import BrightRegions
from tests.session.test_session import opened, two_bars


def both(**options):
    return opened(BrightRegions(2, automatic=(1,)), labels={1: "a", 2: "b"}, **options)


@pytest.mark.parametrize(("brush", "count"), [(1, 1), (2, 1), (3, 9), (5, 21), (7, 37)])
def test_a_dab_is_a_disc(brush, count):
    track = track_of([(10, 8)], brush, (20, 30))
    assert track.sum() == count
    assert track[8, 10]
    np.testing.assert_array_equal(track[:17, :21], track[:17, :21][::-1, ::-1])


def test_a_stroke_has_the_width_of_the_brush_and_stays_in_the_image():
    track = track_of([(5, 10), (15, 10)], 3, (20, 30))
    assert track[9:12, 5:16].all()
    assert track.sum() == 3 * 13  # and the corners of the round ends, which a brush of 3 fills
    assert track_of([(0, 0)], 5, (20, 30)).sum() == 8


def test_what_is_painted_stays_when_the_network_answers_again():
    session = both()
    assert session.paint("b", [(0, 0, 1), (1, 0, 1)]) == 2
    assert session.label[0, 0, 1] == session.label[1, 0, 1] == 2
    assert session.label[..., 1].astype(bool).sum() == 9 + 4 + 2  # under the network's own masks
    session.add_point("a", (3, 3, 1))
    session.segment(1)
    assert session.label[0, 0, 1] == 2
    assert (session.label[..., 1] == 1).sum() == 9
    session.segment("all")
    assert session.label[0, 0, 1] == 2


def test_an_eraser_takes_its_class_alone_and_for_good():
    session = both()
    session.paint("b", [(2, 2, 1)])
    assert session.paint("a", [(2, 2, 1), (4, 2, 1)], erase=True) == 2
    assert session.label[2:5, 2, 1].tolist() == [2, 0, 0]
    session.add_point("a", (3, 4, 1))
    session.segment(1)
    assert session.label[2:5, 2, 1].tolist() == [2, 0, 0]
    assert session.paint("a", [(3, 2, 1)]) == 1  # painted again
    assert session.label[3, 2, 1] == 1


def test_strokes_are_steps_to_undo_across_slices_and_masks_come_back():
    session = both()
    session.segment([1, 2])
    network = session.label.copy()
    session.paint("b", [(0, 0, 1)], size=3)
    session.paint("a", [(3, 3, 2)], size=3, erase=True)
    painted = session.label.copy()
    assert session.undo() == [2]
    assert session.undo() == [1]
    np.testing.assert_array_equal(session.label, network)
    assert not session.is_edited
    session.segment([1, 2])
    np.testing.assert_array_equal(session.label, network)
    assert [session.redo(), session.redo()] == [[1], [2]]
    session.segment([1, 2])
    np.testing.assert_array_equal(session.label, painted)


def test_clear_drops_what_was_painted_of_a_class():
    session = both()
    session.paint("b", [(0, 0, 1)])
    session.paint("a", [(3, 3, 1)], erase=True)
    assert session.clear("b") == [1]
    session.segment(1)
    assert session.label[0, 0, 1] == 0
    assert session.label[3, 3, 1] == 0
    assert session.clear() == [1]
    session.segment(1)
    np.testing.assert_array_equal(session.label[..., 1], two_bars()[..., 1])


def test_propagation_and_largest_parts_leave_painted_classes_alone():
    session = opened(largest_component=True)
    session.paint(1, [(0, 0, 3)])
    session.segment("all")
    assert session.label[0, 0, 3]
    session.add_point(1, (3, 3, 1))
    assert session.propagate(1) == {"class 1": [0, 2]}


@pytest.mark.parametrize("affine", [np.diag([-1.0, 1.2, -3.0, 1.0]), np.diag([3.0, 1.0, 1.0, 1.0])])
def test_painted_voxels_come_back_with_a_saved_session(tmp_path, affine):
    session = both(affine=affine)
    place = [4, 2, 1]
    session.paint("b", [place], size=3)
    session.paint("a", [place], erase=True)  # nothing of a is there
    path = session.save(tmp_path / "out.nii.gz")
    again = both(affine=affine)
    again.open(two_bars(), affine=affine, state=path)
    np.testing.assert_array_equal(again.label, session.label)
    number = place[session.slice_axis]
    again.segment(number)
    np.testing.assert_array_equal(again.label, session.label)
    state = json.loads((tmp_path / "out.session.json").read_text(encoding="utf-8"))
    for damaged in ("###", "AAAA", "eJwDAAAAAAE="):
        state["painted"] = {str(number): damaged}
        (tmp_path / "out.session.json").write_text(json.dumps(state), encoding="utf-8")
        with pytest.raises(
            ValueError, match=r"out.session.json: (what was painted cannot be read|is no saved session)"
        ):
            again.open(two_bars(), affine=affine, state=path)


@pytest.mark.parametrize("size", [0, 202, float("nan")])
def test_a_brush_has_a_size(size):
    with pytest.raises(ValueError, match="size must be from 1 to 201 pixels"):
        both().paint(1, [(1, 1, 1)], size=size)
