"""Several boxes of a class in a real browser: drawn, moved, resized, deleted by key and by button, undone, saved."""

import json

import pytest

from amsam_monai.data.files.images import read_label
from tests.label_app.boxes import FIRST, SECOND, overlap

pytest.importorskip("gradio", reason="needs gradio")
from tests.annotate.browsing import annotating_rectangles, browsing, needs_browser, on_picture, wait_for_status

pytestmark = needs_browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("boxes")
    with annotating_rectangles(root) as url:
        yield url, root


@pytest.fixture
def page(address):
    with browsing(address[0]) as page:
        wait_for_status(page, "the network's own")
        page.keyboard.press("b")
        wait_for_status(page, "Tool: Box")
        yield page


def drag(page, start, end, said):
    page.mouse.move(*on_picture(page, start))
    page.mouse.down()
    page.mouse.move(*on_picture(page, end), steps=4)
    page.mouse.up()
    wait_for_status(page, said)


def lines(page):
    return page.locator("#boxes li")


def saved(page, root):
    """Mask and boxes, as column and row, of what the page saves."""
    page.click("#save")
    wait_for_status(page, "Saved")
    state = json.loads((root / "out" / "two_label.session.json").read_text(encoding="utf-8"))
    boxes = [
        tuple(tuple(int(place) for place in corner[:2]) for corner in box)
        for box in state["slices"]["0"]["cell"]["boxes"]
    ]
    return read_label(root / "out" / "two_label.png").array, boxes


def test_boxes_are_added_moved_and_deleted_each(page, address):
    drag(page, *FIRST, "Box 1 for cell.")
    drag(page, *SECOND, "Box 2 for cell.")
    assert lines(page).count() == 2
    assert "48 px" in lines(page).nth(1).inner_text()
    mask, boxes = saved(page, address[1])
    assert boxes == [FIRST, SECOND]
    assert overlap(mask, FIRST, SECOND) > 0.8
    drag(page, SECOND[1], (55, 40), "Resized box 2 of cell.")  # a corner
    drag(page, (45.5, 7), (45.5, 12), "Moved box 2 of cell.")  # the number, on the upper edge
    mask, boxes = saved(page, address[1])
    assert boxes == [FIRST, ((36, 13), (55, 45))]
    assert overlap(mask, FIRST, boxes[1]) > 0.8
    page.keyboard.press("Delete")  # the one that was moved is chosen
    wait_for_status(page, "Deleted box 2 of cell.")
    assert lines(page).count() == 1
    page.keyboard.press("z")
    wait_for_status(page, "Undone")
    assert lines(page).count() == 2
    page.get_by_label("Delete box 1").click()
    wait_for_status(page, "Deleted box 1 of cell.")
    mask, boxes = saved(page, address[1])
    assert boxes == [((36, 13), (55, 45))]
    assert overlap(mask, boxes[0]) > 0.8


def test_a_line_of_the_list_chooses_and_a_point_says_whose_it_is(page):
    drag(page, *FIRST, "Box 1 for cell.")
    drag(page, *SECOND, "Box 2 for cell.")
    lines(page).nth(0).locator("span").first.click()
    wait_for_status(page, "Box 1 of cell: drag a corner")
    assert lines(page).nth(0).get_attribute("class") == "chosen"
    page.keyboard.press("Backspace")
    wait_for_status(page, "Deleted box 1 of cell.")
    page.keyboard.press("a")
    wait_for_status(page, "Tool: Add")
    page.mouse.click(*on_picture(page, (45, 30)))
    wait_for_status(page, "Added to cell (box 1) at pixel (45, 30).")
    assert "1 point" in lines(page).nth(0).inner_text()


def test_with_shift_a_box_takes_the_place_of_all(page):
    drag(page, *FIRST, "Box 1 for cell.")
    page.keyboard.down("Shift")
    drag(page, *SECOND, "Box for cell.")
    page.keyboard.up("Shift")
    assert lines(page).count() == 1
