"""Several boxes of a class on the page, without a browser: seen, drawn, chosen, moved, resized, deleted one by one."""

import numpy as np
import pytest
from PIL import Image

from amsam_monai.annotate.box_views import BoxHit
from amsam_monai.annotate.hand import UNMOVED
from amsam_monai.annotate.page import boxes_table
from amsam_monai.annotate.workbench import Workbench
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.session.session import InteractiveSession
from tests.networks.test_objects import FixedObjects, build
from tests.session.test_objects import LEFT, RIGHT, edges, rounded

THIRD = ((4, 42), (26, 58))


@pytest.fixture
def bench(tmp_path):
    net = build(FixedObjects([edges(LEFT), edges(RIGHT)], []), objects="all", num_classes=2)
    return bench_of(net, tmp_path)


def bench_of(net, folder):
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(picture).save(folder / "cells.png")
    names = dict(enumerate(("cell", "other"), start=1))
    session = InteractiveSession(net, {index: names[index] for index in range(1, net.num_classes + 1)})
    bench = Workbench(session, [folder / "cells.png"], folder / "out", side=640)
    bench.open(folder / "cells.png")
    return bench


def screen(bench, pixel):
    return bench.canvas("image").screen(*pixel)


def drag(bench, start, end, **options):
    return bench.drag("image", screen(bench, start), screen(bench, end), **options)


def tag_of(bench, at):
    left, top, right, bottom = bench.canvas("image").tag(edges_of(bench, at))
    return (left + right) / 2, (top + bottom) / 2


def edges_of(bench, at):
    (ax, ay), (bx, by) = rounded(bench.session.boxes(bench.label, 0))[at]
    return min(ax, bx), min(ay, by), max(ax, bx) + 1, max(ay, by) + 1


def boxes_of(bench):
    return [edges_of(bench, at) for at in range(len(bench.session.boxes(bench.label, 0)))]


def test_a_box_is_added_beside_the_networks_own_and_chosen(bench):
    bench.tool = "box"
    assert drag(bench, *THIRD) == "Box 3 for cell."
    assert rounded(bench.session.boxes("cell", 0)) == [LEFT, RIGHT, THIRD]
    assert bench.chosen == 2
    assert [row["chosen"] for row in bench.boxes()] == [False, False, True]
    assert [row["size"] for row in bench.boxes()] == ["22 × 26", "24 × 32", "23 × 17"]
    assert all(0 < row["quality"] < 1 for row in bench.boxes())


def test_with_the_other_way_round_it_takes_the_place_of_all_and_further_ones_too(bench):
    bench.tool = "box"
    assert drag(bench, *THIRD, other=True) == "Box for cell."
    assert rounded(bench.session.boxes("cell", 0)) == [THIRD]
    assert drag(bench, *LEFT) == "Box for cell."  # the class has one box now
    assert drag(bench, *RIGHT, other=True) == "Box 2 for cell."
    assert rounded(bench.session.boxes("cell", 0)) == [LEFT, RIGHT]


@pytest.mark.parametrize("tool", ["box", "add", "look"])
def test_a_corner_changes_the_size_and_the_number_moves_the_whole(bench, tool):
    bench.tool = tool
    assert bench.drag("image", screen(bench, (25, 33)), screen(bench, (30, 40))) == "Resized box 1 of cell."
    assert boxes_of(bench)[0] == (4, 8, 31, 41)
    tag = tag_of(bench, 0)
    way = 5 * 10  # five pixels on a screen of 640
    assert bench.drag("image", tag, (tag[0] + way, tag[1] - way)) == "Moved box 1 of cell."
    assert boxes_of(bench)[0] == (9, 3, 36, 36)
    tag = tag_of(bench, 0)
    bench.drag("image", tag, (0, tag[1]))
    assert boxes_of(bench)[0] == (0, 3, 27, 36)  # it stays in the picture
    assert boxes_of(bench)[1] == tuple(edges(RIGHT))
    bench.undo()
    bench.undo()
    bench.undo()
    assert rounded(bench.session.boxes("cell", 0)) == [LEFT, RIGHT]


@pytest.mark.parametrize(
    ("corner", "changed"),
    [
        ((36, 20), (30, 25, 60, 52)),
        ((59, 20), (30, 25, 37, 52)),
        ((36, 51), (30, 20, 60, 26)),
        ((59, 51), (30, 20, 37, 26)),
    ],
)
def test_each_corner_leaves_the_opposite_one_where_it_is(bench, corner, changed):
    drag(bench, corner, (30, 25))
    assert boxes_of(bench) == [tuple(edges(LEFT)), changed]


def test_boxes_are_chosen_on_the_picture_and_in_the_list_and_deleted_by_key(bench):
    assert bench.remove_box() == "Choose a box first: click its number, or its line in the list."
    bench.tool = "box"
    assert bench.click("image", *screen(bench, (50, 40))).startswith("Box 2 of cell")  # inside
    assert bench.chosen == 1
    assert bench.click("image", *tag_of(bench, 0)).startswith("Box 1 of cell")
    assert bench.click("image", *screen(bench, (32, 60))) == "Drag to draw a box."
    assert bench.choose_box(1).startswith("Box 2 of cell")
    assert bench.remove_box() == "Deleted box 2 of cell."
    assert rounded(bench.session.boxes("cell", 0)) == [LEFT]
    assert bench.chosen is None
    assert bench.choose_box(7) == "cell has 1 box in this slice."
    assert bench.remove_box(0) == "Deleted box 1 of cell."
    assert bench.boxes() == []
    assert bench.picture().shape == (640, 640, 3)


def test_the_tool_delete_takes_a_box_by_its_edge(bench):
    bench.tool = "delete"
    assert bench.click("image", *screen(bench, (15, 20))) == "There is no point to delete here, and no edge of a box."
    assert bench.click("image", *screen(bench, (47, 51.5))) == "Deleted box 2 of cell."
    assert rounded(bench.session.boxes("cell", 0)) == [LEFT]


def test_a_point_that_the_mask_does_not_follow_says_so(bench):
    bench.session.paint("cell", [(32, 60, 0)])  # which holds whatever the network answers
    at = screen(bench, (32, 60))
    assert not bench.click("image", *at).endswith(UNMOVED)
    bench.tool = "remove"
    assert bench.click("image", *at) == f"Taken from cell at pixel (32, 60). {UNMOVED}"
    bench.session.paint("cell", [(32, 60, 0)], erase=True)
    assert bench.click("image", *at) == "Taken from cell at pixel (32, 60)."


def test_a_point_says_whose_it_is_and_the_list_counts_it(bench):
    for tool, at, said in (
        ("add", (50, 40), "Added to cell (box 2) at pixel (50, 40)."),
        ("add", (32, 60), "Added to cell (an object of its own) at pixel (32, 60)."),
        ("remove", (40, 24), "Taken from cell at pixel (40, 24)."),
    ):
        bench.tool = tool
        followed = (bench.click("image", *screen(bench, at)), bench.session.label[at[1], at[0]] == (tool == "add"))
        assert followed in ((said, True), (f"{said} {UNMOVED}", False))  # the network is random
    assert [row["points"] for row in bench.boxes()] == [0, 1]


def test_a_box_of_no_size_is_left_out_with_a_word(bench):
    before = bench.session.label.copy()
    bench.tool = "box"
    assert drag(bench, (32.2, 60), (31.8, 60.2)) == "A box of no size is left out; drag from one corner to the other."
    assert drag(bench, (25, 33), (4, 8)) == "Box 1 of cell would have no size and stays as it was."
    assert rounded(bench.session.boxes("cell", 0)) == [LEFT, RIGHT]
    assert np.array_equal(bench.session.label, before)


def test_another_class_has_boxes_and_a_chosen_one_of_its_own(bench):
    bench.tool = "box"
    bench.choose_box(0)
    bench.label = 2
    assert bench.chosen is None
    assert drag(bench, *THIRD) == "Box 1 for other."
    assert rounded(bench.session.boxes("other", 0)) == [THIRD]
    assert rounded(bench.session.boxes("cell", 0)) == [LEFT, RIGHT]
    assert bench.hit_box("image", *screen(bench, (4, 8))) == BoxHit(1, 0, 0)  # of a class that is not chosen


def test_a_network_of_one_box_a_class_has_it_drawn_moved_and_deleted(tmp_path):
    bench = bench_of(AISAM(build_sam("vit_nano", image_size=64), depth=1), tmp_path)
    bench.tool = "box"
    assert drag(bench, *LEFT) == "Box for cell."
    assert drag(bench, *RIGHT) == "Box for cell."
    assert drag(bench, (59, 51), (50, 60)) == "Resized box 1 of cell."
    assert boxes_of(bench) == [(36, 20, 51, 61)]
    assert len(bench.boxes()) == 1
    assert bench.remove_box(0) == "Deleted box 1 of cell."
    assert bench.session.box("cell", 0) is None


def test_the_table_escapes_names_and_has_a_button_for_each_box():
    row = {"number": 2, "size": "3 × 4", "quality": None, "points": 1, "chosen": True, "index": 1}
    table = boxes_table("<b>", [{**row, "number": 1, "points": 0, "chosen": False}, row])
    assert "&lt;b&gt;" in table
    assert table.count("<button") == 2
    assert "<li class='chosen' data-box='2'>" in table
    assert "3 × 4 px, 1 point –" in table
    assert boxes_table("cell", []) == ""
