"""The page in a real browser: points, a click, the mask, undo, saving; and nothing from other hosts."""

import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.files.images import read_label
from amsam_monai.session.session import InteractiveSession
from tests.label_app.nano_bundle import write_nano_bundle
from tests.label_app.test_service import save_ball
from tests.segment.conftest import write_series

pytest.importorskip("gradio", reason="needs gradio")
from tests.annotate.browsing import annotating, browsing, choose, needs_browser, wait_for_status

pytestmark = needs_browser


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_nano_bundle(tmp_path_factory.mktemp("bundles"), system="aisam")


@pytest.fixture(scope="module")
def address(bundle, tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    (root / "cases").mkdir()
    image = save_ball(root / "cases" / "ball.nii.gz")
    (image.parent / "label-ball.nii.gz").rename(root / "label.nii.gz")
    (root / "cases" / "broken.nii.gz").write_bytes(b"not a volume")
    write_series(sitk.ReadImage(str(image)), root / "cases" / "series")
    picture = np.full((48, 64, 3), 200, dtype=np.uint8)
    picture[10:30, 20:45] = (120, 60, 40)
    Image.fromarray(picture).save(root / "cases" / "skin.png")
    with annotating(root, bundle) as url:
        yield url, root


@pytest.fixture
def page(address):
    with browsing(address[0]) as page:
        yield page
        if folder := os.environ.get("AMSAM_SCREENSHOTS"):
            page.screenshot(path=str(Path(folder) / "annotate_test.png"))


def source_of(page):
    return page.locator("#main-view img").get_attribute("src")


def click_at(page, fraction):
    frame = page.locator("#main-view img").bounding_box()
    page.mouse.click(frame["x"] + fraction[0] * frame["width"], frame["y"] + fraction[1] * frame["height"])


def test_a_person_clicks_undoes_and_saves(page, address, bundle, tmp_path):
    _, root = address
    wait_for_status(page, "the network's own points")
    automatic = source_of(page)
    assert automatic.startswith("data:image/png;base64,")
    click_at(page, (0.5, 0.5))
    wait_for_status(page, "Added to liver")
    clicked = source_of(page)
    assert clicked != automatic
    page.click("#undo")
    wait_for_status(page, "Undone")
    assert source_of(page) != clicked
    page.keyboard.press("y")
    wait_for_status(page, "Done again")
    page.click("#save")
    wait_for_status(page, "Saved")
    saved = root / "out" / "ball_label.nii.gz"
    session = InteractiveSession.of_bundle(load_bundle(bundle))
    session.open(root / "cases" / "ball.nii.gz", state=saved)
    points = [point for point in session.points("liver") if not point.automatic]
    assert len(points) == 1
    restored = session.label.copy()
    session.segment(session.image.slice_of(points[0].voxel))
    np.testing.assert_array_equal(read_label(saved).array, restored)
    np.testing.assert_array_equal(session.label, restored)
    np.testing.assert_allclose(nib.load(saved).affine, nib.load(root / "cases" / "ball.nii.gz").affine)


def test_a_box_is_dragged_a_point_deleted_and_a_slice_turned(page):
    wait_for_status(page, "the network's own points")
    page.keyboard.press("b")
    wait_for_status(page, "Tool: Box")
    frame = page.locator("#main-view img").bounding_box()
    page.mouse.move(frame["x"] + 0.3 * frame["width"], frame["y"] + 0.3 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.6 * frame["width"], frame["y"] + 0.6 * frame["height"], steps=4)
    assert page.locator("#drag-box").is_visible()
    page.mouse.up()
    wait_for_status(page, "Box for liver")
    page.keyboard.press("2")
    wait_for_status(page, "Clicks are for spleen")
    page.keyboard.press("a")
    wait_for_status(page, "Tool: Add")
    click_at(page, (0.4, 0.4))
    wait_for_status(page, "Added to spleen")
    page.keyboard.press("d")
    wait_for_status(page, "Tool: Delete")
    click_at(page, (0.4, 0.4))
    wait_for_status(page, "Deleted a point of spleen")
    page.keyboard.press("ArrowUp")
    wait_for_status(page, "Slice 4.")
    page.click("#everything")
    wait_for_status(page, "All 7 slices are segmented.")


def test_a_click_in_a_small_view_goes_there(page):
    wait_for_status(page, "the network's own points")
    page.keyboard.press("v")
    wait_for_status(page, "Tool: Look")
    frame = page.locator("#side-0 img").bounding_box()
    page.mouse.click(frame["x"] + frame["width"] * 0.51, frame["y"] + frame["height"] * 0.3)
    wait_for_status(page, "Voxel (20, 18, 4)")
    assert page.locator("#slice input[type=number]").input_value() != "3"


def test_every_key_does_what_the_page_says(page, address):
    wait_for_status(page, "the network's own points")
    for key, said in (
        ("r", "Tool: Remove"),
        ("d", "Tool: Delete"),
        ("v", "Tool: Look"),
        ("b", "Tool: Box"),
        ("a", "Tool: Add"),
        ("2", "Clicks are for spleen"),
        ("1", "Clicks are for liver"),
        ("ArrowDown", "Slice 2."),
        ("ArrowUp", "Slice 3."),
        ("click", "Added to liver"),  # something to undo, whether or not the random network carries it on
        ("p", "follow|would go on|no liver"),
        ("z", "Undone"),
        ("y", "Done again"),
        ("c", "Prompts for liver dropped"),
        ("s", "Saved"),
    ):
        if key == "click":
            click_at(page, (0.5, 0.5))
        else:
            page.keyboard.press(key)
        page.locator("#status", has_text=re.compile(said)).wait_for()
    page.keyboard.press("n")
    page.locator("#status", has_text=re.compile("series|skin.png: the network's own points")).wait_for()


STICKS_OUT = """() => [...document.querySelectorAll('#tools-side *, #planes-side *')]
  .filter((part) => part.clientWidth && part.scrollWidth > part.clientWidth + 1
    && getComputedStyle(part).overflowX === 'visible')
  .map((part) => part.textContent)"""


def test_a_picture_and_the_keys_fit_a_small_screen_and_a_tablet(page):
    wait_for_status(page, "ball.nii.gz: the network's own points and masks")
    assert page.locator("#propagate").is_visible()
    assert "network, inside" in page.locator("#legend").inner_text()
    choose(page, "#case", "skin.png")
    wait_for_status(page, "skin.png: the network's own points")
    assert not page.locator("#propagate").is_visible()  # there is no slice to go to
    assert "predicted IoU" in page.locator("#facts").inner_text()
    for width, height in ((1280, 720), (820, 1180)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function(
            "width => document.querySelector('#desk').getBoundingClientRect().right <= width", arg=width
        )
        assert page.evaluate(STICKS_OUT) == []
        page.keyboard.press("?")
        frame = page.locator("#sheet").bounding_box()
        assert frame["y"] >= 0
        assert frame["y"] + frame["height"] <= height
        assert frame["x"] + frame["width"] / 2 == pytest.approx(width / 2, abs=10)
        page.keyboard.press("?")


def test_a_file_that_cannot_be_read_is_said_and_the_image_stays(page):
    wait_for_status(page, "the network's own points")
    before = source_of(page)
    choose(page, "#case", "broken.nii.gz")
    wait_for_status(page, "⚠ broken.nii.gz: cannot be read")
    assert source_of(page) == before


def test_a_series_is_saved_as_dicom_seg_and_a_picture_as_png(page, address):
    _, root = address
    wait_for_status(page, "ball.nii.gz: the network's own points")
    choose(page, "#case", "series")
    wait_for_status(page, "series: the network's own points")
    click_at(page, (0.5, 0.5))
    wait_for_status(page, "Added to liver")
    page.click("#save")
    wait_for_status(page, "series_label.dcm")
    assert pydicom.dcmread(root / "out" / "series_label.dcm").Modality == "SEG"
    choose(page, "#case", "skin.png")
    wait_for_status(page, "skin.png: the network's own points")
    assert not page.locator("#slice").is_visible()
    page.click("#save")
    wait_for_status(page, "skin_label.png")
    assert Image.open(root / "out" / "skin_label.png").size == (64, 48)


def test_grey_values_and_planes_change_what_is_seen(page):
    wait_for_status(page, "the network's own points")
    before = source_of(page)
    page.locator("#window input[type=number]").fill("0.4")
    page.keyboard.press("Tab")
    wait_for_status(page, "window 0.40")
    narrow = source_of(page)
    assert narrow != before
    page.locator("#level input[type=number]").fill("0.2")
    page.keyboard.press("Tab")
    wait_for_status(page, "Level 0.20")
    assert source_of(page) != narrow
    for plane in ("coronal", "sagittal", "axial"):
        page.get_by_label(plane).click()
        wait_for_status(page, f"{plane.capitalize()} plane.")
    assert page.locator("#side-0 img").is_visible()
    assert page.locator("#side-1 img").is_visible()


def test_nothing_comes_from_other_hosts(page, address):
    wait_for_status(page, "the network's own points")
    outside = [url for url in page.asked if not url.startswith((address[0], "data:", "blob:"))]
    assert outside == []


def test_a_page_that_asks_too_much_is_told_so(page):
    wait_for_status(page, "the network's own points")
    send = """() => {
      document.querySelector('#everything').click();
      for (let at = 0; at < 60; at += 1) document.querySelector('#sent').click();
    }"""
    page.evaluate(send)
    page.get_by_text("actions of this tab run or wait already").first.wait_for()
