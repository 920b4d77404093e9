"""Strokes, contrasts, previews and the sheet of keys in a real browser, by mouse, keys and finger; small screens."""

import json
import os
from pathlib import Path

import pytest

from amsam_monai.data.files.images import read_label

pytest.importorskip("gradio", reason="needs gradio")
from tests.annotate.browsing import annotating_rectangles, browsing, choose, needs_browser, on_picture, wait_for_status
from tests.faults.test_page_reads_no_file_of_the_host import page_server

pytestmark = needs_browser
SIZES = {"a laptop": (1280, 720), "a tablet": (768, 1024)}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("strokes")
    with annotating_rectangles(root) as url:
        yield url, root


@pytest.fixture
def page(address):
    with browsing(address[0]) as page:
        wait_for_status(page, "the network's own")
        yield page


def draw(page, *pixels):
    page.mouse.move(*on_picture(page, pixels[0]))
    page.mouse.down()
    for pixel in pixels[1:]:
        page.mouse.move(*on_picture(page, pixel), steps=5)
    assert page.locator("#stroke polyline").count() == 1
    page.mouse.up()
    assert page.locator("#stroke").count() == 0


def take(page, key, name):
    page.keyboard.press(key)
    wait_for_status(page, f"Tool: {name}.")


def saved(page, root):
    page.click("#save")
    wait_for_status(page, "Saved")
    state = json.loads((root / "out" / "two_label.session.json").read_text(encoding="utf-8"))
    return read_label(root / "out" / "two_label.png").array, state


def test_scribble_lasso_brush_and_eraser(page, address):
    take(page, "l", "Lasso")
    draw(page, (8, 8), (27, 8), (27, 55), (8, 55))
    wait_for_status(page, "Lasso beside what there is for cell.")
    take(page, "f", "Scribble")
    draw(page, (12, 15), (24, 15), (24, 50))
    wait_for_status(page, "8 points added to cell.")
    take(page, "g", "Scribble outside")
    draw(page, (40, 2), (60, 2))
    wait_for_status(page, "8 points taken from cell.")
    _, state = saved(page, address[1])
    edits = state["slices"]["0"]["cell"]
    assert [[round(v) for v in corner[:2]] for corner in edits["boxes"][-1]] == [[8, 8], [27, 55]]
    assert len(edits["outlines"]) == 1
    assert sum(not point["positive"] for point in edits["points"]) == 8
    take(page, "w", "Brush")
    page.mouse.move(*on_picture(page, (46, 60)))
    before = page.locator("#brush-ring").bounding_box()["width"]
    page.keyboard.press("]")
    wait_for_status(page, "Brush of 11 pixels.")
    page.mouse.move(*on_picture(page, (50, 60)))
    assert page.locator("#brush-ring").bounding_box()["width"] > before
    page.keyboard.press("[")
    wait_for_status(page, "Brush of 9 pixels.")
    page.mouse.click(*on_picture(page, (46, 30)))
    wait_for_status(page, "Painted")
    mask, _ = saved(page, address[1])
    assert mask[26:35, 46].all()
    take(page, "e", "Eraser")
    draw(page, (2, 30), (62, 30))
    wait_for_status(page, "Erased")
    mask, state = saved(page, address[1])
    assert not mask[26:35].any()
    assert set(state["painted"]) == {"0"}
    page.keyboard.press("z")
    wait_for_status(page, "Undone")
    assert saved(page, address[1])[0][26:35, 46].all()


def test_a_finger_draws_too(address):
    with browsing(address[0]) as page:
        wait_for_status(page, "the network's own")
        take(page, "w", "Brush")
        touch = page.context.new_cdp_session(page)
        places = [on_picture(page, pixel) for pixel in ((10, 10), (20, 20), (30, 20))]
        for kind, place in (("touchStart", places[0]), *(("touchMove", one) for one in places[1:]), ("touchEnd", None)):
            points = [] if place is None else [{"x": place[0], "y": place[1]}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        wait_for_status(page, "Painted")
        assert saved(page, address[1])[0][20, 10:31].sum() >= 12


def test_the_question_mark_opens_the_keys_and_escape_closes_them(page):
    assert not page.locator("#sheet").is_visible()
    page.keyboard.press("?")
    assert page.locator("#sheet").is_visible()
    assert "keep or drop what is proposed" in page.locator("#sheet").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#sheet").is_visible()
    page.get_by_label("Keys", exact=True).first.click()
    assert page.locator("#sheet").is_visible()
    page.get_by_role("button", name="Close").click()
    assert not page.locator("#sheet").is_visible()


def test_a_contrast_is_chosen(page):
    before = page.locator("#main-view img").get_attribute("src")
    choose(page, "#contrast", "25 to 99.9 %")
    wait_for_status(page, "Contrast: 25 to 99.9 %.")
    assert page.locator("#main-view img").get_attribute("src") != before


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_everything_is_in_reach_on_small_screens(address, size):
    with browsing(address[0]) as page:
        page.set_viewport_size({"width": size[0], "height": size[1]})
        wait_for_status(page, "the network's own")
        if folder := os.environ.get("AMSAM_SCREENSHOTS"):
            page.screenshot(path=str(Path(folder) / f"annotate_{size[0]}.png"))
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        view = page.locator("#main-view img").bounding_box()
        assert view["width"] >= 480
        assert view["y"] + view["height"] <= size[1]
        for part in ("#tools", "#undo", "#propagate", "#save"):
            frame = page.locator(part).bounding_box()
            assert frame["x"] >= 0
            assert frame["y"] + frame["height"] <= size[1], part
        for button in page.locator("#tools label").all():
            assert button.bounding_box()["height"] >= 24


def test_propagation_is_shown_then_kept_or_dropped(tmp_path_factory):
    with page_server(tmp_path_factory) as (url, _, files), browsing(url) as page:
        wait_for_status(page, "the network's own")
        page.keyboard.press("2")
        wait_for_status(page, "Clicks are for node.")
        frame = page.locator("#main-view img").bounding_box()
        x, y = (12 - 1 - 8 + 0.5) / 12, (10 - 1 - 6 + 0.5) / 12 + 1 / 12  # as the slice is turned, 12 x 10 in a square
        page.mouse.click(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
        wait_for_status(page, "Added to node")
        page.keyboard.press("p")
        wait_for_status(page, "node would go on to 3 slices")
        assert page.locator("#preview figure").count() == 3
        page.keyboard.press("Escape")
        wait_for_status(page, "Dropped; nothing has changed.")
        assert page.locator("#preview figure").count() == 0
        page.keyboard.press("p")
        wait_for_status(page, "node would go on to 3 slices")
        page.locator("#preview figure").first.click()
        wait_for_status(page, "Slice 0.")
        page.keyboard.press("Enter")
        wait_for_status(page, "Carried to 3 slices.")
        page.click("#save")
        wait_for_status(page, "Saved")
        assert (read_label(files["case"].parent / "out" / "a_label.nii.gz").array == 2).sum() == 16
