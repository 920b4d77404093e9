"""Scribbles and lassos in sessions: where their points lie, and what networks are asked."""

import numpy as np
import pytest
import torch

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.objects import as_sets
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.mean import Mean
from amsam_monai.session.session import InteractiveSession
from amsam_monai.session.strokes import deepest_points, inside_of, points_along
from tests.networks.test_objects import FixedObjects, build
from tests.segment.toy_net import BrightRegions
from tests.session.test_objects import LEFT, RIGHT, edges, rounded
from tests.session.test_session import opened

SQUARE = [(8, 16), (39, 16), (39, 47), (8, 47)]  # column and row of a 64 x 64 picture


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


def voxels(points):
    return [point.voxel for point in points]


def test_points_are_spread_along_a_path_and_bounded():
    assert points_along([(10, 20), (50, 20)], 8, 10) == [(10, 20), (20, 20), (30, 20), (40, 20), (50, 20)]
    assert points_along([(10, 20), (50, 20)], 3, 10) == [(10, 20), (30, 20), (50, 20)]
    assert points_along([(0, 0), (4, 0), (4, 4)], 8, 4) == [(0, 0), (4, 0), (4, 4)]  # round a corner
    assert points_along([(0, 0), (3, 0)], 8, 4) == [(1.5, 0)]
    assert points_along([(7, 5)], 8, 4) == [(7, 5)]


def test_the_inside_of_an_outline_holds_its_places():
    mask = inside_of([[(2, 1), (5, 1), (5, 3), (2, 3)]], (8, 10))
    assert mask.sum() == 4 * 3
    assert mask[1:4, 2:6].all()


def test_the_deepest_points_lie_apart():
    mask = np.zeros((20, 40), dtype=bool)
    mask[5:12, 4:31] = True  # 7 rows: the middle one is the deepest
    (x, y), *others = deepest_points(mask, 3)
    assert (x, y) == (7, 8)
    assert all(mask[int(row), int(column)] for column, row in others)
    assert min(abs(column - x) for column, _ in others) >= 4
    assert deepest_points(mask & False, 3) == []
    assert deepest_points(np.pad([[True]], 3), 3) == [(3, 3)]


def test_a_scribble_is_points_of_its_class_and_sign_and_one_step():
    session = opened(BrightRegions(2, automatic=()), labels={1: "a", 2: "b"})
    points = session.scribble("b", [(2, 2, 1), (4, 2, 1), (4, 4, 1)])
    assert len(points) == 8
    assert voxels(points)[0] == (2, 2, 1)
    assert voxels(points)[-1] == (4, 4, 1)
    assert session.points("b", 1) == points
    assert session.points("a", 1) == []
    session.segment(1)
    assert (session.label[..., 1] == 2).sum() == 9  # the whole bar
    outside = session.scribble("b", [(2, 2, 1), (4, 4, 1)], positive=False, max_points=2)
    assert [point.positive for point in outside] == [False, False]
    session.segment(1)
    assert not session.label.any()
    session.undo()
    session.undo()
    assert session.points("b", 1) == []


@pytest.mark.parametrize("affine", [np.diag([1.0, 1.0, 5.0, 1.0]), np.diag([-1.0, 1.2, -3.0, 1.0])])
def test_a_lasso_takes_what_is_inside_and_drops_points_that_contradict_it(affine):
    session = opened(affine=affine)
    session.add_point(1, (8, 6, 2))
    session.add_point(1, (3, 4, 2), positive=False)
    points = session.lasso(1, [(1, 1, 2), (3, 1, 2), (3, 5, 2), (1, 5, 2)])
    assert session.points(1, 2) == points
    assert all(1 <= i <= 3 and 1 <= j <= 5 for i, j, _ in voxels(points))
    session.segment(2)
    assert np.argwhere(session.label[..., 2]).tolist() == [[i, j] for i in (2, 3) for j in (2, 3, 4)]
    assert len(session.outlines(1, 2)) == 1
    session.set_box(1, (1, 1, 2), (5, 5, 2))  # another box: the outline no longer holds
    session.segment(2)
    assert session.outlines(1, 2) == []
    assert session.label[..., 2].sum() == 9
    session.undo()
    session.segment(2)
    assert session.label[..., 2].sum() == 6
    session.undo()
    assert [point.positive for point in session.points(1, 2)] == [True, False]


def test_a_lasso_beside_another_is_a_part_more_of_the_class():
    session = opened(BrightRegions(automatic=()))
    session.lasso(1, [(1, 1, 2), (5, 1, 2), (5, 5, 2), (1, 5, 2)])
    session.lasso(1, [(7, 5, 2), (10, 5, 2), (10, 8, 2), (7, 8, 2)], beside=True)
    session.segment(2)
    assert session.label[..., 2].sum() == 9 + 4
    session.lasso(1, [(7, 5, 2), (10, 5, 2), (10, 8, 2), (7, 8, 2)])
    session.segment(2)
    assert session.label[..., 2].sum() == 4


SYSTEMS = {
    "amsam": AMSAM,
    "aisam": lambda sam, **settings: AISAM(sam, gate=False, **settings),
    "mean": lambda sam, **settings: Mean([AMSAM(sam, **settings), AMSAM(sam, **settings)]),
}


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_a_network_is_asked_with_the_box_the_points_and_the_mask_of_a_lasso(nano_sam, picture, monkeypatch, system):
    torch.manual_seed(1)
    net = SYSTEMS[system](nano_sam, num_classes=2).eval()
    session = InteractiveSession(net, slices={"flips": ["horizontal"]})
    session.open(picture)
    session.segment(0)
    points = session.lasso(1, SQUARE)
    asked, segment = [], net.segment

    def noted(image, prompts, *args, **kwargs):
        asked.append(prompts)
        return segment(image, prompts, *args, **kwargs)

    monkeypatch.setattr(net, "segment", noted)
    session.segment(0)
    for prompts, box, mirrored in zip(asked[-2:], ([8, 16, 40, 48], [24, 16, 56, 48]), (False, True), strict=True):
        assert prompts.box_xyxy[0, 0].tolist() == box
        assert prompts.mask[0, 1].isnan().all()
        cells = [edge // 4 for edge in box]  # of the mask prompt, 16 a side
        inside = torch.zeros(16, 16, dtype=torch.bool)
        inside[cells[1] : cells[3], cells[0] : cells[2]] = True
        assert torch.equal(prompts.mask[0, 0] > 0, inside)
        given = [[63 - x if mirrored else x, y] for x, y, _ in voxels(points)]
        shown = (prompts.point_labels[0, 0] > 0.5) & ~prompts.points_xy[0, 0].isnan().any(-1)
        assert prompts.points_xy[0, 0][shown].tolist() == given


def test_the_mask_under_a_lasso_is_that_of_the_network(nano_sam, picture):
    torch.manual_seed(1)
    net = AMSAM(nano_sam, num_classes=1).eval()
    session = InteractiveSession(net)
    session.open(picture)
    before = session.segment(0).mask.copy()
    xy = torch.tensor([voxel[:2] for voxel in voxels(session.lasso(1, SQUARE))])
    session.segment(0)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 8:40] = 1
    boxed = torch.tensor([[[8.0, 16.0, 40.0, 48.0]]])
    prompts = Prompts(xy[None, None], torch.ones(1, 1, len(xy)), boxed, net.mask_prompt(mask))
    expected = net.segment(session.image.pixels(0), prompts).logits[0].argmax(0)
    np.testing.assert_array_equal(session.label, expected)
    without = net.segment(session.image.pixels(0), Prompts(xy[None, None], torch.ones(1, 1, len(xy)), boxed)).logits
    assert (without[0].argmax(0) != expected).any()  # the mask prompt counts
    assert (session.label != before).any()


def test_a_mask_prompt_is_ten_inside_and_minus_ten_outside(nano_sam):
    net = AMSAM(nano_sam, num_classes=2)
    masks = torch.full((1, 2, 32, 64), torch.nan)
    masks[0, 1] = 0
    masks[0, 1, :, 32:] = 1
    prompt = net.mask_prompt(masks)
    assert prompt.shape == (1, 2, 16, 16)
    assert prompt[0, 0].isnan().all()
    for part, wanted in ((prompt[0, 1, :7, 9:], 10), (prompt[0, 1, :, :7], -10), (prompt[0, 1, 9:], -10)):
        torch.testing.assert_close(part, torch.full_like(part, wanted))  # the last one is the padding


def test_of_several_objects_a_mask_belongs_to_those_whose_box_it_fills():
    mask = torch.full((1, 1, 16, 16), -10.0)
    mask[..., 2:6, 2:6] = 10  # pixels 8 to 24 of 64
    boxes = torch.tensor([[8.0, 8, 24, 24], [8, 8, 56, 56], [40, 40, 60, 60]]).reshape(1, 1, 3, 4)
    sets, there = as_sets(Prompts(mask=mask, object_boxes=boxes), 64)
    assert there.tolist() == [[[True, True, True, False]]]
    own, large, far, last = sets.mask[0]
    assert torch.equal(own, mask[0, 0])
    assert all(other.isnan().all() for other in (large, far, last))


def test_a_lasso_is_an_object_more_where_a_class_has_a_box_for_each(picture):
    net = build(FixedObjects([edges(LEFT), edges(RIGHT)]), objects="all")
    session = InteractiveSession(net, {1: "cell"})
    session.open(picture)
    session.segment(0)
    session.lasso("cell", [(4, 40), (20, 40), (20, 60), (4, 60)])
    session.segment(0)
    assert rounded(session.boxes("cell", 0)) == [LEFT, RIGHT, ((4, 40), (20, 60))]
    assert [session.object_at("cell", voxel) for voxel in voxels(session.points("cell", 0))] == [2, 2, 2]
    session.remove_box("cell", 0, 2)
    assert session.outlines("cell", 0) == []
    session.undo()
    session.lasso("cell", SQUARE, beside=False)
    assert rounded(session.boxes("cell", 0)) == [((8, 16), (39, 47))]
    assert len(session.outlines("cell", 0)) == 1


def test_strokes_come_back_with_a_saved_session(nano_sam, picture, tmp_path):
    from PIL import Image

    Image.fromarray(picture).save(tmp_path / "a.png")
    session = InteractiveSession(AMSAM(nano_sam, num_classes=2))
    session.open(tmp_path / "a.png")
    session.lasso(1, SQUARE)
    session.scribble(2, [(3, 3), (30, 3)])
    session.segment(0)
    path = session.save(tmp_path / "a_label.png")
    again = InteractiveSession(session.net)
    again.open(tmp_path / "a.png", state=path)
    assert again.edits == session.edits
    again.segment(0)
    np.testing.assert_array_equal(again.label, session.label)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.scribble(1, []), "a stroke must have 1 to 2000 places, got 0"),
        (lambda s: s.scribble(1, [(1, 1, 1)] * 2001), "got 2001; draw it in shorter parts"),
        (lambda s: s.scribble(1, [(1, 1, 1), (1, 1, 3)]), "must lie in one slice, got places in slices 1 to 3"),
        (lambda s: s.scribble(1, [(1, 1, 1), (1, 99, 1)]), "voxel must lie in the image"),
        (lambda s: s.scribble(1, [(1, 1, 1)], max_points=0), "max_points must be at least 1, got 0"),
        (lambda s: s.lasso(1, []), "a stroke must have 1 to 2000 places, got 0"),
        (lambda s: s.lasso(1, [(1, 1, 1), (4, 4, 1)]), "a lasso must go round an area, got 2 places"),
    ],
)
def test_strokes_that_cannot_be_are_refused(call, message):
    session = opened()
    with pytest.raises(ValueError, match=message):
        call(session)
    assert session.edits == {}
