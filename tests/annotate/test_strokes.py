"""Scribbles, lassos, brush and eraser on the page, without a browser; contrasts and previews."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from amsam_monai.annotate.actions import choose_brush, choose_contrast, event_of, use_mouse
from amsam_monai.annotate.contrast import AS_SEEN, contrasts_of
from amsam_monai.annotate.drawing import Canvas, Mark, draw
from amsam_monai.annotate.page import KEYS, image_tag, preview_strip
from amsam_monai.annotate.script import SCRIPT, TOOL_KEYS
from amsam_monai.annotate.workbench import Workbench
from amsam_monai.session.session import InteractiveSession
from tests.segment.toy_net import BrightRegions
from tests.session.test_session import two_bars


def bench_of(tmp_path, affine=None, volume=None, slices=None, intensity=None):
    affine = np.diag([1.0, 1.0, 4.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(two_bars() if volume is None else volume, affine), tmp_path / "a.nii.gz")
    net = BrightRegions(2, automatic=(1,))
    names = {1: "vessel", 2: "node"}
    session = InteractiveSession(net, names, intensity=intensity or {"mode": "none"}, slices=slices)
    bench = Workbench(session, [tmp_path / "a.nii.gz"], tmp_path / "out", side=480)
    bench.open(tmp_path / "a.nii.gz")
    bench.cursor = (0, 0, 2)
    bench.label = 2
    return bench


@pytest.fixture
def bench(tmp_path):
    return bench_of(tmp_path)


def screen(bench, *voxels):
    """Places of voxels on the screen, in the plane that is shown."""
    view, canvas = bench.view(bench.plane), bench.canvas(bench.plane)
    return [canvas.screen(*view.to_slice(voxel)[1:]) for voxel in voxels]


def test_a_scribble_adds_points_of_the_chosen_sign(bench):
    bench.tool = "scribble"
    assert bench.stroke("axial", screen(bench, (8, 6, 2), (9, 7, 2))) == "4 points added to node."
    assert (bench.session.label[8:10, 6:8, 2] == 2).all()
    bench.tool = "scribble_out"
    assert bench.stroke("axial", screen(bench, (8, 6, 2))) == "1 point taken from node."
    assert not (bench.session.label == 2).any()
    bench.tool = "scribble"
    assert bench.stroke("axial", screen(bench, (0, 0, 2)), other=True) == "1 point taken from node."
    assert [point.positive for point in bench.session.points(2, 2)] == [True] * 4 + [False] * 2


def test_a_lasso_is_drawn_and_shown(bench):
    bench.tool = "lasso"
    before = bench.picture()
    assert bench.stroke("axial", screen(bench, (1, 1, 2), (5, 1, 2), (5, 5, 2), (1, 5, 2))) == "Lasso for node."
    assert (bench.session.label[2:5, 2:5, 2] == 2).all()
    bench.session.clear()
    bench.session.lasso(2, [(6, 0, 2), (7, 0, 2), (7, 1, 2)])  # of nothing: the dashes alone are new
    bench.update()
    assert (bench.picture() != before).any()
    with pytest.raises(ValueError, match="a lasso must go round an area, got 1 places"):
        bench.click("axial", *screen(bench, (0, 0, 2))[0])


@pytest.mark.parametrize("stored", [np.diag([1.0, 1.0, 4.0, 1.0]), np.diag([-1.0, 1.0, -4.0, 1.0])])
def test_brush_and_eraser_change_the_voxels_under_them(tmp_path, stored):
    bench = bench_of(tmp_path, stored)
    bench.tool = "brush"
    assert choose_brush(bench, 3) == "Brush of 3 pixels."
    assert bench.click("axial", *screen(bench, (1, 8, 2))[0]) == "Painted 9 pixels of node."
    assert np.argwhere(bench.session.label == 2).tolist() == [[i, j, 2] for i in (0, 1, 2) for j in (7, 8, 9)]
    bench.choose_brush(1)
    bench.tool, start, end = "eraser", *screen(bench, (0, 8, 2), (2, 8, 2))
    assert bench.drag("axial", start, end) == "Erased 3 pixels of node."
    assert bench.drag("axial", start, end, other=True) == "Painted 3 pixels of node."
    assert bench.unsaved
    bench.clear()
    assert not bench.unsaved


def test_the_size_of_a_class_is_shown_as_it_grows(bench):
    bench.tool = "brush"
    bench.choose_brush(99)
    assert bench.facts()[1]["size"] == "0.0 ml"
    bench.click("axial", *screen(bench, (5, 5, 2))[0])
    assert bench.facts()[1]["size"] == "0.5 ml"  # 12 x 10 voxels of 4 cubic millimetres


def test_strokes_are_undone_in_the_slice_where_they_were_drawn(bench):
    bench.tool = "brush"
    bench.click("axial", *screen(bench, (0, 0, 2))[0])
    bench.go(5)
    assert bench.undo() == "Undone (1 slice)."
    assert bench.slice == 2


def test_strokes_are_drawn_where_the_network_sees_alone(bench):
    bench.tool = "brush"
    bench.turn("coronal")
    assert bench.stroke("coronal", [(240, 240)]) == "Draw in the plane that the network sees, axial."
    bench.turn("axial")
    assert bench.stroke("axial", [(-9, -9), (-5, 3)]) == "That is beside the image."
    assert not bench.session.is_edited


def test_a_brush_is_within_bounds(bench):
    assert [choose_brush(bench, size) for size in (-4, 1e9, float("nan"))] == [
        f"Brush of {size} pixels." for size in (1, 201, 9)
    ]


def test_an_event_of_a_stroke_names_its_tool(bench):
    bench.tool = "look"
    path = [[x / 480, y / 480] for x, y in screen(bench, (8, 6, 2), (9, 7, 2))]
    event = {"view": "main-view", "tool": "scribble", "path": path, "at": 1}
    assert use_mouse(bench, json.dumps(event)) == "4 points added to node."
    assert use_mouse(bench, json.dumps({**event, "tool": "add", "at": 2})) == ""


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"view": "main-view", "path": [[0.5, 0.5]] * 2001}, "a stroke must have 1 to 2000 places, got 2001"),
        ({"view": "main-view", "path": []}, "a stroke must have 1 to 2000 places, got 0"),
        ({"view": "main-view", "path": "all"}, "a stroke must have 1 to 2000 places, got none"),
        ({"view": "main-view", "path": [[0.5]]}, "a stroke must have a view and places"),
        ({"path": [[0.5, 0.5]]}, "a stroke must have a view and places"),
        ({"view": "x" * 200_000}, "an event must have at most 200000 characters, got"),
        ({"keep": 1}, "keep must be true or false, got 1"),
    ],
)
def test_what_is_no_stroke_or_too_long_is_refused(event, message):
    with pytest.raises(ValueError, match=message):
        event_of(json.dumps(event))


def test_propagation_is_looked_at_before_it_is_kept(bench):
    assert bench.keep() == bench.drop() == "There is nothing to keep or drop."
    bench.click("axial", *screen(bench, (8, 6, 2))[0])
    before = bench.session.label.copy()
    bench.propose()
    np.testing.assert_array_equal(bench.session.label, before)
    assert [(row["place"], row["step"]) for row in bench.previews()] == [(0, -2), (1, -1), (3, 1)]
    bench.go(3)
    proposed = bench.picture()
    bench.drop()
    assert bench.previews() == []
    assert (bench.picture() != proposed).any()
    bench.go(2)
    bench.propose()
    use_mouse(bench, '{"keep": true, "at": 1}')
    assert (bench.session.label == 2).sum() == 16
    bench.propose()
    assert bench.propose().startswith("The neighbouring slices")  # they are edited now
    assert bench.undo().startswith("Undone (")
    assert (bench.session.label == 2).sum() == 4
    bench.propose()
    bench.undo()
    assert bench.keep() == "The image was edited since; propagate again."


@pytest.mark.parametrize("orientation", ["radiological", "stored"])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_a_preview_shows_masks_as_the_page_turns_them(tmp_path, orientation, signs):
    affine = np.diag([*np.multiply(signs, (1.0, 1.0, 4.0)), 1.0])
    bench = bench_of(tmp_path, affine, slices={"orientation": orientation})
    bench.click("axial", *screen(bench, (8, 6, 2))[0])
    bench.propose()
    view = bench.view("axial")
    shown = {number: bench.shown_mask(view, view.renumbered(number)).copy() for number in bench.proposed.masks}
    bench.keep()
    for number, mask in shown.items():
        np.testing.assert_array_equal(mask, view.see(bench.session.label)[view.renumbered(number)])
        assert (mask == 2).sum() == 4


def test_ct_has_its_windows_and_everything_percentiles(tmp_path):
    volume = np.full((8, 8, 4), -1000.0, dtype=np.float32)
    volume[2:6, 2:6] = np.linspace(-100, 800, 4)
    bench = bench_of(tmp_path, volume=volume, intensity={"mode": "hu_window"})
    assert contrasts_of(bench.session.image)[:3] == [AS_SEEN, "CT soft tissue", "CT lung"]
    greys = {}
    for name in bench.contrasts:
        assert choose_contrast(bench, name) == f"Contrast: {name}."
        greys[name] = bench.grey(bench.view("axial"), 3)[4, 4]  # 800 HU
    assert greys[AS_SEEN] == greys["CT liver"] == greys["CT soft tissue"] == 1
    assert greys["CT bone"] == pytest.approx((800 + 500) / 1800)
    assert greys["all values"] == 1
    bench.choose_contrast("CT lung")
    assert bench.grey(bench.view("axial"), 0)[4, 4] == pytest.approx((-100 + 1350) / 1500)
    with pytest.raises(ValueError, match="contrast must be one of as the network sees it"):
        choose_contrast(bench, "CT of a whale")


def test_other_images_have_percentiles_alone(bench, tmp_path):
    assert bench.contrasts[1] == "all values"
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "grey.png")
    session = InteractiveSession(BrightRegions(), intensity={"mode": "bit_depth"})
    bench = Workbench(session, [], tmp_path / "out", side=160)
    bench.open(tmp_path / "grey.png")
    bench.opacity = 0
    plain = bench.picture()
    bench.choose_contrast("5 to 95 %")
    assert bench.window == (0.5, 1.0)
    dark, light = bench.picture()[4, 4], bench.picture()[-4, -4]
    assert dark.tolist() == [0, 0, 0]
    assert light.tolist() == [255, 255, 255]
    assert (bench.picture() != plain).any()
    bench.open(tmp_path / "grey.png")
    assert bench.contrast == AS_SEEN


def test_the_network_s_points_outside_differ_in_shape_too():
    empty, canvas = np.zeros((6, 6), np.uint8), Canvas(6, 6, side=60)
    inside, outside = (
        draw(empty.astype(float), empty, canvas, marks=[Mark((2, 2), 1, sign, True)]) for sign in (True, False)
    )
    assert not inside[25, 25].any()
    assert outside[25, 25].any()  # the bar


def test_every_tool_has_a_key_that_the_sheet_names():
    named = {key.strip(",").lower() for keys, _ in KEYS for key in keys.split()}
    assert {*TOOL_KEYS, *"zycpsn[]?"} <= named
    assert '"scribble_out"' in SCRIPT


def test_the_strip_of_a_preview_has_its_slices_and_two_buttons():
    rows = [{"place": at, "step": at - 2, "picture": np.zeros((4, 4, 3), np.uint8)} for at in (1, 3)]
    strip = preview_strip(rows)
    assert strip.count("<img") == 2
    assert "data-step='-1'" in strip
    assert strip.count("<button") == 2
    assert preview_strip([]) == ""
    assert 'data-pixel="0.125000"' in image_tag(rows[0]["picture"], pixel=1 / 8)
