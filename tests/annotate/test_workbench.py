"""What the page shows and does, without a browser."""

import nibabel as nib
import numpy as np
import pytest

from amsam_monai.annotate.drawing import BoxMark, Canvas, Mark, blend, draw
from amsam_monai.annotate.page import bar, facts_table, legend
from amsam_monai.annotate.workbench import Workbench, find_files
from amsam_monai.data.files.images import read_label
from amsam_monai.segment.calibration import Mask, fit_quality
from amsam_monai.segment.quality import FEATURES
from amsam_monai.session.session import InteractiveSession
from tests.segment.conftest import write_series
from tests.segment.toy import oblique, stored_as
from tests.segment.toy_net import BrightRegions
from tests.session.test_session import two_bars


@pytest.fixture
def bench(tmp_path):
    """Two bars in a volume whose slices are thick and whose first axis runs from left to right."""
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(two_bars(), affine), tmp_path / f"{name}.nii.gz")
    bench = bench_of(tmp_path)
    bench.open(tmp_path / "a.nii.gz")
    return bench


def bench_of(folder):
    session = InteractiveSession(BrightRegions(2, automatic=(1,)), {1: "vessel", 2: "node"}, intensity={"mode": "none"})
    return Workbench(session, find_files(folder), folder / "out", side=480)


def screen(bench, voxel, plane=None):
    """Where a voxel is on the screen."""
    plane = plane or bench.plane
    bench.cursor = voxel
    _, x, y = bench.view(plane).to_slice(voxel)
    return bench.canvas(plane).screen(x, y)


def test_the_screen_and_the_slice_agree():
    canvas = Canvas(10, 20, (2.0, 1.0), side=400)
    assert canvas.size == (400, 400)
    assert canvas.pixel(*canvas.screen(3, 7)) == pytest.approx((3, 7))
    tall = Canvas(20, 10, side=400)
    assert tall.offset == (100, 0)
    assert tall.pixel(50, 50) is None


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_click_in_any_plane_lands_on_its_voxel(bench, plane):
    bench.tool, bench.label = "add", 2
    bench.turn(plane)
    bench.click(plane, *screen(bench, (8, 6, 2)))
    assert bench.session.points(2, 2)[0].voxel == (8, 6, 2)
    assert bench.session.label[8, 6, 2] == 2


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("stored", ["RAS", "LPS", "PIR"])
def test_a_click_lands_in_every_plane_of_an_oblique_volume(tmp_path, stored, plane):
    straight = nib.Nifti1Image(two_bars(), oblique((12, 10, 6), (1.0, 1.2, 3.0)))
    nib.save(stored_as(straight, stored), tmp_path / "x.nii.gz")
    bench = bench_of(tmp_path)
    bench.open(tmp_path / "x.nii.gz")
    bright = np.asarray(bench.session.image.source.array) > 0
    voxel = tuple(int(v) for v in np.argwhere(bright)[bright.sum() // 2])
    bench.turn(plane)
    bench.click(plane, *screen(bench, voxel))
    assert bench.session.points(bench.label, bench.slice)[-1].voxel == voxel
    assert bench.session.label[voxel] == bench.label


def test_the_small_views_are_cut_to_their_slice_and_take_clicks(bench):
    (first, last), picture = bench.side_rows("coronal"), bench.side_picture("coronal")
    assert picture.shape == (last - first, 480, 3)
    x, y = screen(bench, (8, 6, 2), "coronal")
    assert bench.on_screen("coronal", x / 480, (y - first) / (last - first)) == pytest.approx((x, y))


def test_remove_delete_undo_and_redo(bench):
    bench.label = 2
    place = screen(bench, (8, 6, 2))
    bench.click("axial", *place)
    bench.tool = "remove"
    bench.click("axial", *screen(bench, (9, 7, 2)))
    assert [point.positive for point in bench.session.points(2, 2)] == [True, False]
    bench.undo()
    assert len(bench.session.points(2, 2)) == 1
    bench.redo()
    assert len(bench.session.points(2, 2)) == 2
    bench.tool = "delete"
    assert "Deleted" in bench.click("axial", *place)
    assert [point.positive for point in bench.session.points(2, 2)] == [False]
    assert "no point" in bench.click("axial", *screen(bench, (0, 0, 2)))
    bench.clear()
    assert bench.session.points(2, 2) == []


def test_a_drag_draws_a_box_and_moves_a_point(bench):
    bench.tool, bench.label = "box", 2
    bench.drag("axial", screen(bench, (1, 1, 2)), screen(bench, (5, 5, 2)))
    assert (bench.session.label[..., 2] == 2).sum() == 9
    bench.clear()
    bench.tool = "add"
    bench.click("axial", *screen(bench, (8, 6, 2)))
    assert "Moved" in bench.drag("axial", screen(bench, (8, 6, 2)), screen(bench, (3, 3, 2)))
    assert bench.session.points(2, 2)[0].voxel == (3, 3, 2)
    assert "Draw boxes in the plane" in bench.drag("coronal", screen(bench, (1, 1, 1)), (470, 470))


def test_propagation_and_all_slices(bench):
    bench.label = 2
    assert bench.propose() == "There is no node in this slice to carry on."
    bench.click("axial", *screen(bench, (8, 6, 2)))
    assert bench.propose() == "node would go on to 3 slices: Enter keeps this, Esc drops it."
    assert bench.keep() == "Carried to 3 slices."
    bench.segment_all()
    assert (bench.session.label == 1).sum() == 6 * 9


def test_slices_and_planes_go_through_one_voxel(bench):
    bench.go(4)
    assert bench.place == 4
    voxel = bench.cursor
    bench.turn("coronal")
    assert bench.cursor == voxel
    bench.go(99)
    assert bench.place == bench.depth() - 1


def test_the_next_case_is_another_and_the_last_one_says_so(bench, tmp_path):
    assert bench.next_uncertain() == tmp_path / "b.nii.gz"
    bench.saved.add(tmp_path / "b.nii.gz")
    with pytest.raises(ValueError, match="no other file"):
        bench.next_uncertain()


def test_a_calibrated_network_tells_the_dice_to_expect(bench):
    assert all("error" not in row for row in bench.facts())
    masks = [Mask("c", "vessel", dict.fromkeys(FEATURES, 0.9), 0.8, -1.5, number) for number in (None, 0)]
    bench.session.quality = fit_quality(masks)
    bench.open(bench.path)
    vessel = bench.facts()[0]
    assert 0.5 < vessel["quality"] < 0.9
    assert 0 < vessel["error"] <= 0.5
    bench.session.paint("node", [(8, 6, bench.slice)], size=3)
    assert bench.facts()[1]["quality"] is None
    assert bench.facts()[0]["quality"] is not None


def test_what_is_saved_is_what_is_shown(bench):
    bench.label = 2
    bench.click("axial", *screen(bench, (8, 6, 2)))
    bench.segment_all()
    path = bench.save("NIfTI")
    assert path.name == "a_label.nii.gz"
    np.testing.assert_array_equal(read_label(path).array, bench.session.label)
    assert list(bench.formats) == ["NIfTI", "NRRD"]


def test_a_series_is_saved_as_dicom_seg(tmp_path):
    import highdicom as hd
    import SimpleITK as sitk  # noqa: N813

    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    nib.save(nib.Nifti1Image(two_bars().astype(np.int16), affine), tmp_path / "x.nii.gz")
    write_series(sitk.ReadImage(str(tmp_path / "x.nii.gz")), tmp_path / "series")
    bench = bench_of(tmp_path)
    bench.open(tmp_path / "series")
    bench.segment_all()
    assert list(bench.formats) == ["DICOM-SEG", "NIfTI", "NRRD"]
    segmentation = hd.seg.segread(bench.save("DICOM-SEG"))
    names = [description.segment_label for description in segmentation.SegmentSequence]
    assert names == ["vessel", "node"]
    assert int(segmentation.pixel_array.sum()) == int((bench.session.label > 0).sum()) > 0


def test_pictures_show_masks_points_and_boxes(bench):
    bench.label = 2
    bench.click("axial", *screen(bench, (8, 6, 2)))
    picture = bench.picture()
    assert picture.shape == (480, 480, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 5
    bench.window = (0.5, 4.0)
    assert (bench.picture() != picture).any()
    assert bench.facts()[1]["size"] == "0.0 ml"


def test_masks_have_solid_outlines():
    labels = np.zeros((6, 6), dtype=np.uint8)
    labels[1:5, 1:5] = 1
    blended = blend(np.zeros((6, 6, 3), dtype=np.uint8), labels, 0.5)
    assert blended[1, 1].tolist() == [230, 159, 0]
    assert blended[2, 2].tolist() == [115, 79, 0]
    assert not blended[0].any()
    marks = [Mark((2, 2), 1, positive, automatic) for positive in (True, False) for automatic in (True, False)]
    boxes = [BoxMark((1, 1, 5, 5), 1, 1, chosen=True), BoxMark((0, 0, 6, 6), 2)]
    shown = draw(np.zeros((6, 6)), labels, Canvas(6, 6, side=60), marks=marks, boxes=boxes)
    assert shown.shape == (60, 60, 3)
    assert shown[30, 0].tolist() == [86, 180, 233]


def test_tables_escape_names_and_mark_low_quality():
    rows = [{"index": 1, "name": "<b>", "quality": 0.4, "presence": None, "size": "3 px"}]
    table = facts_table(rows)
    assert "&lt;b&gt;" in table
    assert "class='low'" in table
    assert "predicted IoU" in table
    assert "presence" not in table  # nobody tells it
    assert "<th>presence</th>" in facts_table([{**rows[0], "presence": 0.7}])
    calibrated = facts_table([{**rows[0], "quality": 0.8, "error": 0.07}, {**rows[0], "quality": None, "error": None}])
    assert "expected Dice" in calibrated
    assert "predicted IoU" not in calibrated
    assert "0.80 <i>± 0.07</i>" in calibrated
    assert "<td>–</td>" in calibrated
    assert bar(float("nan")) == "–"
    assert "network" not in legend("")
    assert "you, outside" in legend("")
    assert "network, inside" in legend("points")


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        find_files(tmp_path / "nothing")
    assert find_files(tmp_path) == []
