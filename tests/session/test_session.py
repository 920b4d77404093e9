"""The interactive session: coordinates, edits, history, propagation and files."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from amsam_monai.data.files.images import read_label
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment.embeddings_lru import EmbeddingLRU
from amsam_monai.segment.propagation import overlap, prompts_of_mask
from amsam_monai.session.session import InteractiveSession, SessionPoint
from tests.segment.toy_net import BrightRegions

AXIAL = np.diag([1.0, 1.0, 5.0, 1.0])


def two_bars(shape=(12, 10, 6)):
    """Two bright bars along k: A at i 2..4, j 2..4; B at i 8..9, j 6..7, which ends after k = 3."""
    volume = np.zeros(shape, dtype=np.float32)
    volume[2:5, 2:5] = 1
    volume[8:10, 6:8, :4] = 1
    return volume


def opened(net=None, volume=None, affine=AXIAL, **options):
    session = InteractiveSession(net or BrightRegions(), intensity={"mode": "none"}, **options)
    session.open(two_bars() if volume is None else volume, affine=affine)
    return session


def test_automatic_segmentation_fills_every_slice():
    session = opened()
    session.segment("all")
    np.testing.assert_array_equal(session.label, two_bars().astype(np.uint8))


def test_a_click_picks_the_clicked_object_and_only_in_its_slice():
    session = opened()
    session.add_point("class 1", (8, 6, 2))
    result = session.segment(2)
    assert session.label[8, 6, 2] == 1
    assert session.label[..., 2].sum() == 4
    assert session.label[..., [0, 1, 3, 4, 5]].sum() == 0
    assert result.quality == {"class 1": 1.0}


def test_a_blank_slice_is_background_also_where_it_is_clicked():
    volume = two_bars()
    volume[..., 5] = 0.8  # as bright as the bars
    for neighbours in (0, 1):
        session = opened(volume=volume, slices={"neighbours": neighbours})
        session.segment("all")
        session.add_point(1, (3, 3, 5))
        session.segment(5)
        assert not session.label[..., 5].any()
        assert session.label[3, 3, 4]


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)])
def test_a_click_lands_on_the_clicked_voxel_in_every_orientation_and_plane(axis, flips):
    affine = np.diag([*(sign * size for sign, size in zip(flips, (1.0, 1.2, 3.0), strict=True)), 1.0])
    affine[:3, 3] = (7, -20, 31)
    session = opened(affine=affine, slices={"axis": axis})
    voxel = (9, 7, 3)
    session.add_point(1, voxel)
    session.segment(voxel[session.slice_axis])
    assert session.label[voxel] == 1
    assert session.label[3, 3].sum() == 0  # the other bar was not clicked


def test_a_click_lands_on_the_clicked_voxel_in_an_oblique_volume():
    turn = np.array([[0.9, -0.3, 0.2], [0.1, 0.5, -0.85], [0.2, 0.8, 0.45]])
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(turn)[0] @ np.diag([1.0, 1.0, 4.0])
    session = opened(affine=affine)
    session.add_point(1, (8, 6, 1))
    session.segment(1)
    assert session.label[8, 6, 1] == 1
    assert session.label[..., 1].sum() == 4


def test_a_picture_takes_column_and_row():
    picture = np.zeros((8, 12, 3), dtype=np.uint8)
    picture[1:3, 9:11] = 255
    picture[5:7, 1:3] = 255
    session = InteractiveSession(BrightRegions(), intensity={"mode": "bit_depth"})
    session.open(picture)
    session.add_point(1, (9, 1))
    session.segment(0)
    assert session.label.shape == (8, 12)
    assert session.label[1, 9] == 1
    assert session.label.sum() == 4


def test_a_negative_point_takes_an_object_away():
    session = opened()
    session.set_points(1, [SessionPoint((3, 3, 1)), SessionPoint((8, 6, 1)), SessionPoint((8, 6, 1), positive=False)])
    session.segment(1)
    assert session.label[8, 6, 1] == 0
    assert session.label[3, 3, 1] == 1


def test_points_are_moved_and_removed_by_their_index():
    session = opened()
    session.add_point(1, (3, 3, 2))
    session.move_point(1, 2, 0, (9, 7, 2))
    session.segment(2)
    assert session.label[9, 7, 2] == 1
    assert session.label[3, 3, 2] == 0
    session.remove_point(1, 2, 0)
    assert session.points(1, 2) == []
    with pytest.raises(ValueError, match="index must count one of 0 points"):
        session.remove_point(1, 2, 0)
    session.add_point(1, (3, 3, 2))
    with pytest.raises(ValueError, match="must stay in its slice"):
        session.move_point(1, 2, 0, (3, 3, 3))


@pytest.mark.parametrize("corners", [((1, 1, 2), (5, 5, 2)), ((5, 5, 2), (1, 1, 2)), ((5, 1, 2), (1, 5, 2))])
def test_a_box_holds_both_corners_in_any_order(corners):
    session = opened(affine=np.diag([-1.0, 1.0, 5.0, 1.0]))
    assert session.set_box(1, *corners) == [2]
    session.segment(2)
    assert session.label[..., 2].sum() == 9
    assert session.box(1, 2) == corners  # as the person gave them
    session.set_box(1, (2, 2, 2), (2, 2, 2))
    session.segment(2)
    assert session.label[..., 2].sum() == 1


def test_a_box_across_slices_is_given_to_each():
    session = opened()
    assert session.set_box(1, (1, 1, 4), (5, 5, 2)) == [2, 3, 4]
    session.segment([2, 3, 4])
    assert session.label[..., 2:5].sum() == 27


def test_undo_and_redo_bring_points_and_masks_back():
    session = opened()
    session.segment(1)
    automatic = session.label.copy()
    session.add_point(1, (8, 6, 1))
    session.segment(1)
    clicked = session.label.copy()
    assert session.undo() == [1]
    np.testing.assert_array_equal(session.label, automatic)
    assert session.points(1, 1) == []
    assert session.undo() == []
    assert session.redo() == [1]
    np.testing.assert_array_equal(session.label, clicked)
    assert [point.voxel for point in session.points(1, 1)] == [(8, 6, 1)]


def test_clear_drops_prompts_and_their_masks():
    session = opened(BrightRegions(2, automatic=()), labels={1: "a", 2: "b"})
    session.add_point("a", (3, 3, 1))
    session.add_point("b", (8, 6, 1))
    session.segment(1)
    assert session.clear("a") == [1]
    assert set(np.unique(session.label)) == {0, 2}
    session.segment(1)
    assert set(np.unique(session.label)) == {0, 2}
    session.clear()
    assert not session.label.any()


def test_classes_nobody_touched_keep_the_automatic_mask():
    session = opened(BrightRegions(2, automatic=(1,)), labels={1: "a", 2: "b"})
    session.add_point("b", (8, 6, 1))
    session.segment(1)
    assert session.label[3, 3, 1] == 1
    assert session.label[8, 6, 1] == 2


def test_propagation_goes_on_until_the_object_ends_and_is_one_step():
    session = opened(BrightRegions(automatic=()))
    session.add_point(1, (8, 6, 1))
    assert session.propagate(1) == {"class 1": [0, 2, 3]}
    np.testing.assert_array_equal(session.label[8:10, 6:8].sum((0, 1)), [4, 4, 4, 4, 0, 0])
    assert session.label[3, 3].sum() == 0
    assert session.undo() == [0, 1, 2, 3, 4]
    assert session.label[..., [0, 2, 3]].sum() == 0
    assert session.label[..., 1].sum() == 4
    session.redo()
    assert session.label.sum() == 16


def test_propagation_stops_at_slices_that_a_person_edited():
    session = opened(BrightRegions(automatic=()))
    session.add_point(1, (3, 3, 4))
    session.add_point(1, (3, 3, 1))
    assert session.propagate(1, max_slices=2) == {"class 1": [0, 2, 3]}


def test_embeddings_are_computed_once_and_bounded():
    net, cache = BrightRegions(), EmbeddingLRU(3 * 12 * 10 * 4)
    session = opened(net, cache=cache)
    for _ in range(3):
        session.add_point(1, (3, 3, 2))
        session.segment(2)
    assert net.encoded == 1
    session.segment("all")
    assert len(cache) == 3
    assert cache.bytes == 3 * 12 * 10 * 4
    assert cache.forget() == 3
    assert cache.bytes == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.add_point("spleen", (1, 1, 1)), "label must be one of class 1"),
        (lambda s: s.add_point(1, (12, 1, 1)), "voxel must lie in the image"),
        (lambda s: s.add_point(1, (1, -1, 1)), "voxel must lie in the image"),
        (lambda s: s.add_point(1, (float("nan"), 1, 1)), "voxel must lie in the image"),
        (lambda s: s.add_point(1, (1, 1)), "voxel must lie in the image"),
        (lambda s: s.add_point(1, ("a", 1, 1)), "must be numbers"),
        (lambda s: s.segment(6), "slice must be a whole number from 0 to 5"),
        (lambda s: s.segment("some"), "must be a number, several, or 'all'"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(opened())


def test_without_an_image_nothing_works():
    with pytest.raises(ValueError, match="no image is open"):
        InteractiveSession(BrightRegions()).add_point(1, (0, 0, 0))
    with pytest.raises(ValueError, match="labels must name the classes 1 to 1"):
        InteractiveSession(BrightRegions(), {1: "a", 2: "b"})


def test_a_mask_gives_a_box_around_it_and_a_point_inside():
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:10, 8:17] = True
    mask[6:9, 10:15] = False  # a ring: its centre is not inside
    box, (x, y) = prompts_of_mask(mask)
    assert box == (6.0, 3.0, 19.0, 12.0)
    assert mask[int(y), int(x)]
    assert prompts_of_mask(mask & False) is None
    assert overlap(mask, mask) == 1.0
    assert overlap(mask, mask & False) == 0.0


@pytest.fixture
def phantom(tmp_path):
    """A bright ball in an LPS-like volume on disk."""
    i, j, k = np.mgrid[:40, :36, :7]
    volume = (120 * ((i - 20) ** 2 + (j - 15) ** 2 + 9 * (k - 3) ** 2 < 110) + 20 + (i % 5)).astype(np.int16)
    affine = np.diag([-1.5, -1.5, 6.0, 1.0])
    affine[:3, 3] = (30, 20, -11)
    path = tmp_path / "ball.nii.gz"
    nib.save(nib.Nifti1Image(volume, affine), path)
    return path


def nano_session(nano_sam, system="amsam"):
    torch.manual_seed(1)
    net = {"amsam": AMSAM, "aisam": AISAM}[system](nano_sam, num_classes=2)
    return InteractiveSession(net, {1: "liver", 2: "spleen"})


@pytest.mark.parametrize("system", ["amsam", "aisam"])
def test_a_scripted_session_is_the_same_after_reopening(nano_sam, phantom, tmp_path, system):
    session = nano_session(nano_sam, system)
    session.open(phantom)
    session.segment("all")  # automatic
    automatic = session.label.copy()
    session.add_point("liver", (20, 15, 3))
    session.set_box("liver", (12, 8, 3), (28, 22, 3))
    corrected = session.segment(3).mask.copy()
    session.propagate(3, labels=["liver"], min_quality=0.0, min_overlap=0.0, max_slices=2)
    propagated = session.label.copy()
    session.undo()  # the propagation
    np.testing.assert_array_equal(session.image.plane(session.label, 3), corrected)
    np.testing.assert_array_equal(np.delete(session.label, 3, 2), np.delete(automatic, 3, 2))
    session.redo()
    np.testing.assert_array_equal(session.label, propagated)

    saved = session.save(tmp_path / "out" / "ball.nii.gz")
    image, label = nib.load(phantom), nib.load(saved)
    np.testing.assert_allclose(label.affine, image.affine)
    assert label.shape == image.shape
    np.testing.assert_array_equal(read_label(saved).array, session.label)

    again = nano_session(nano_sam, system)
    again.net = session.net
    again.open(phantom, state=saved)
    np.testing.assert_array_equal(again.label, session.label)
    assert again.edits == session.edits
    again.segment("all")
    np.testing.assert_array_equal(again.label, propagated)


def test_automatic_points_come_back_and_can_be_edited(nano_sam, phantom):
    session = nano_session(nano_sam, "aisam")
    session.net.gate = False
    session.open(phantom)
    session.segment(2)
    automatic = session.answers.answer(2, {}).logits
    points = session.points("liver", 2)
    assert points
    assert all(point.automatic for point in points)
    assert all(session.image.slice_of(point.voxel) == 2 for point in points)
    session.add_point("liver", (20, 15, 2))
    assert [point.automatic for point in session.points("liver", 2)] == [True] * len(points) + [False]
    session.remove_point("liver", 2, 0)
    assert len(session.points("liver", 2)) == len(points)
    session.segment(2)
    session.undo()
    session.undo()
    assert session.points("liver", 2) == points
    torch.testing.assert_close(session.answers.answer(2, {}).logits, automatic, atol=0, rtol=0)


def test_handing_the_automatic_points_back_changes_nothing(nano_sam, phantom):
    session = nano_session(nano_sam, "aisam")
    session.net.gate = False
    session.open(phantom)
    before = session.answers.answer(2, {}).logits.clone()
    for label in ("liver", "spleen"):
        session.set_points(label, session.points(label, 2), keep_automatic=False)
    torch.testing.assert_close(session.answers.answer(2, session.edits[2]).logits, before, atol=1e-5, rtol=1e-5)


def test_a_click_decodes_only_the_class_it_is_about(nano_sam, phantom, monkeypatch):
    session = nano_session(nano_sam, "amsam")
    session.open(phantom)
    session.segment(3)
    rows = []
    decode = session.net.sam.decode

    def counted(embedding, sparse, *args, **kwargs):
        rows.append(len(sparse))
        return decode(embedding, sparse, *args, **kwargs)

    monkeypatch.setattr(session.net.sam, "decode", counted)
    session.add_point("liver", (20, 15, 3))
    session.segment(3)
    session.add_point("spleen", (4, 5, 3), positive=False)
    clicked = session.segment(3)
    assert rows == [1, 1]
    session.answers._last = None  # nothing to add to: all classes are decoded
    whole = session.answers.answer(3, session.edits[3])
    assert sum(rows) == 4
    np.testing.assert_array_equal(clicked.mask, whole.logits[0].argmax(0))
    assert list(clicked.quality.values()) == pytest.approx(whole.quality[0].tolist(), abs=1e-4)
    session.undo()
    assert session.segment(3).mask.shape == clicked.mask.shape
    assert rows[-1] == 1  # the spleen's mask alone comes back


def test_a_saved_session_of_another_image_is_refused(nano_sam, phantom, tmp_path):
    session = nano_session(nano_sam)
    session.open(phantom)
    saved = session.save(tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match="Open the image it belongs to"):
        session.open(np.zeros((40, 36, 8), dtype=np.float32), affine=AXIAL, state=saved)
    sidecar = tmp_path / "a.session.json"
    assert json.loads(sidecar.read_text(encoding="utf-8"))["format"] == 1
    sidecar.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="is no saved session"):
        session.open(phantom, state=saved)


def test_points_are_bounded_where_they_are_set_and_where_they_are_read(tmp_path, monkeypatch):
    session = opened()
    session.segment(0)
    session.save(tmp_path / "case.nii.gz")
    many = [SessionPoint((3, 3, 1))] * 10_000
    with pytest.raises(ValueError, match=r"a class in a slice must hold at most 1000 points, got 10000; AMSAM_MAX_POI"):
        session.set_points(1, many, keep_automatic=False)
    sidecar = tmp_path / "case.session.json"
    saved = json.loads(sidecar.read_text(encoding="utf-8"))
    saved["slices"] = {"1": {session.labels[1]: {"points": [{"voxel": [3, 3, 1], "positive": True}] * 10_000}}}
    sidecar.write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(ValueError, match="must hold at most 1000 points"):
        session.open(two_bars(), affine=AXIAL, state=sidecar)
    monkeypatch.setenv("AMSAM_MAX_POINTS", "2")
    for voxel in ((3, 3, 1), (8, 6, 1)):
        session.add_point(1, voxel)
    with pytest.raises(ValueError, match="must hold at most 2 points, got 3"):
        session.add_point(1, (4, 4, 1))
    assert len(session.points(1, 1)) == 2
    monkeypatch.setenv("AMSAM_MAX_POINTS", "many")
    with pytest.raises(ValueError, match="AMSAM_MAX_POINTS must be a whole number, got 'many'"):
        session.add_point(1, (3, 3, 2))
