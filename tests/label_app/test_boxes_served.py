"""Several boxes of a class on a real server, over HTTP."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.label_app.boxes import CELLS, FIRST, SECOND, asked, overlap, save_rectangles, write_cells_bundle

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")
from tests.label_app.serving import serving

pytestmark = pytest.mark.label

CLICKS = f"{CELLS}_click"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("boxes")
    (root / "studies").mkdir()
    save_rectangles(root / "studies" / "two.png")
    with serving(root, root / "studies", [write_cells_bundle(root / "bundles")]) as server:
        yield server


def mask_of(server, **params):
    answer = server.infer(CLICKS, "two", "image", **params)
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_boxes_are_added_moved_and_deleted_one_by_one(server):
    client = {"label": "cell", "client_id": "boxes"}
    assert overlap(mask_of(server, boxes=asked(FIRST), **client), FIRST) > 0.8
    answer = server.infer(CLICKS, "two", boxes=asked(FIRST, SECOND), **client).json()
    assert answer["boxes"]["cell"] == [[[float(v) for v in corner] for corner in box] for box in asked(FIRST, SECOND)]
    assert len(answer["box_quality"]["cell"]) == 2
    assert overlap(mask_of(server, boxes=asked(FIRST, SECOND), **client), FIRST, SECOND) > 0.8
    moved = ((8, 8), (27, 30))
    assert overlap(mask_of(server, boxes=asked(moved, SECOND), **client), moved, SECOND) > 0.8
    assert overlap(mask_of(server, boxes=answer["boxes"]["cell"][1:], **client), SECOND) > 0.8
    assert server.infer(CLICKS, "two", boxes=[], slice=0, **client).json()["boxes"]["cell"] == []


def test_the_click_form_of_the_viewers_is_as_it_was(server):
    """Points and a region of interest, without a word of boxes: the one box of the class, and none in the next."""
    client = {"label": "cell", "client_id": "viewer"}
    form = {"foreground": [[45, 30, 0]], "background": [[2, 2, 0]]}
    answer = server.infer(CLICKS, "two", roi=[36, 55, 8, 55, 0, 0], **form, **client).json()
    assert answer["boxes"]["cell"] == [[[36.0, 8.0, 0.0], [55.0, 55.0, 0.0]]]
    sent = [(point["voxel"], point["positive"]) for point in answer["points"]["cell"]]
    assert sent == [([45.0, 30.0, 0.0], True), ([2.0, 2.0, 0.0], False)]
    assert server.infer(CLICKS, "two", **form, **client).json()["boxes"]["cell"] == []


def test_mistakes_answer_400_with_a_message(server):
    for boxes, message in (
        ([[[1, 2, 0]]], "boxes must hold pairs of corner voxels"),
        ([[[1, 2, 0], [64, 2, 0]]], "boxes must hold voxels inside the image"),
        ({"nobody": []}, "boxes must be of cell, got some of 'nobody'"),
    ):
        answer = server.infer(CLICKS, "two", label="cell", boxes=boxes)
        assert answer.status_code == 400
        assert message in answer.json()["detail"]
