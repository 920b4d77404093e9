"""Panoptic quality and average precision, known by hand and from the libraries that define them."""

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from amsam_monai.cli import app
from amsam_monai.evaluation.pairs import Pair, load_pair
from amsam_monai.evaluation.panoptic import Objects, average_precision, objects_of, overlaps, panoptic, score_objects
from amsam_monai.evaluation.summary import read_summary


def squares(*places, side=64):
    """A map of numbered squares: x, y, size."""
    numbered = np.zeros((side, side), np.uint16)
    for number, (x, y, size) in enumerate(places, start=1):
        numbered[y : y + size, x : x + size] = number
    return numbered


TRUE = squares((4, 4, 10), (24, 4, 10), (44, 4, 10))
PRED = squares((4, 4, 10), (24, 8, 10), (44, 30, 10))  # one right, one off by 4 rows (IoU 60 / 140), one elsewhere


def test_known_answers():
    ids, iou = overlaps(PRED, TRUE)
    assert ids.tolist() == [1, 2, 3]
    np.testing.assert_allclose(iou, [[1, 0, 0], [0, 60 / 140, 0], [0, 0, 0]])
    scores = panoptic([Objects(iou, np.ones(3))])
    assert (scores["found"], scores["false"], scores["missed"]) == (1, 2, 2)
    assert (scores["pq"], scores["sq"], scores["rq"]) == pytest.approx((1 / 3, 1.0, 1 / 3))


def test_cases_are_counted_together():
    whole = Objects(np.eye(3), np.ones(3))
    half = Objects(np.full((1, 1), 0.6), np.ones(1))
    nothing = Objects(np.zeros((0, 2)), np.zeros(0))
    scores = panoptic([whole, half, nothing])
    assert (scores["pq"], scores["sq"]) == pytest.approx((3.6 / 5, 0.9))
    assert panoptic([Objects(np.zeros((0, 0)), np.zeros(0))])["pq"] is None
    assert panoptic([nothing]) == {"pq": 0.0, "sq": 0.0, "rq": 0.0, "found": 0, "false": 0, "missed": 2}


@pytest.mark.parametrize("seed", range(3))
def test_it_is_monais_panoptic_quality(seed):
    from monai.metrics.panoptic_quality import compute_panoptic_quality

    rng = np.random.default_rng(seed)
    places = rng.integers([0, 0, 4], [50, 50, 14], (8, 3))
    moved = places + np.pad(rng.integers(0, 3, (8, 2)), ((0, 0), (0, 1)))
    pred, true = squares(*moved), squares(*places)
    wanted = compute_panoptic_quality(
        torch.from_numpy(pred.astype(int)), torch.from_numpy(true.astype(int)), output_confusion_matrix=True
    )
    hits, false, missed, total = Objects(overlaps(pred, true)[1], np.ones(len(np.unique(pred)) - 1)).counts
    assert [hits, false, missed] == wanted[:3].tolist()
    assert total == pytest.approx(float(wanted[3]), abs=1e-5)


class TestAveragePrecision:
    def one(self, *cases):
        pytest.importorskip("pycocotools")
        return average_precision(
            {1: [Objects(np.array(iou, float), np.array(scores, float)) for iou, scores in cases]}
        )[1]

    def test_known_answers(self):
        assert self.one((np.eye(3), [0.9, 0.8, 0.7])) == pytest.approx(1)
        # The surest is wrong, the next two are right: a precision of 2/3 up to full recall.
        assert self.one(([[0, 0], [1, 0], [0, 0.6]], [0.9, 0.8, 0.7])) == pytest.approx(2 / 3)
        # One of two is found: precision 1 up to a recall of .5, which are 51 of 101 places.
        assert self.one(([[1, 0]], [0.9])) == pytest.approx(51 / 101)
        # Two boxes on one object: the second is false, and comes too late to cost anything.
        assert self.one(([[0.9], [0.8]], [0.9, 0.8])) == pytest.approx(1)
        assert self.one(([[0.4]], [0.9])) == 0

    def test_scores_are_compared_over_cases(self):
        wrong, right = (np.zeros((1, 1)), [0.3]), (np.ones((1, 1)), [0.9])
        assert self.one(right, wrong) == pytest.approx(51 / 101)
        assert self.one((np.zeros((1, 1)), [0.95]), right) == pytest.approx(0.5 * 51 / 101)

    def test_more_than_a_hundred_objects_count(self):
        assert self.one((np.eye(300), np.linspace(1, 0.1, 300))) == pytest.approx(1)

    def test_a_class_that_nobody_labelled_has_none(self):
        assert self.one((np.zeros((2, 0)), [0.9, 0.8])) is None


@pytest.fixture
def folders(tmp_path):
    """Two gland-like objects that touch, in one class map each; the prediction's map of objects tells them apart."""
    for name in ("pred", "label"):
        (tmp_path / name).mkdir()
        label = np.zeros((64, 64), np.uint8)
        label[10:30, 10:50] = 1
        Image.fromarray(label).save(tmp_path / name / "case1.png")
    return tmp_path


def numbered(folder, order=(1, 2)):
    objects = np.zeros((64, 64), np.uint16)
    objects[10:30, 10:30], objects[10:30, 30:50] = order
    Image.fromarray(objects).save(folder / "case1_instances.png")


def test_objects_lie_in_files_beside_the_label_maps(folders):
    pair = Pair("case1", folders / "pred" / "case1.png", folders / "label" / "case1.png")
    assert score_objects([pair], {1: "gland"})["classes"]["gland"]["pq"] == 1  # one part each
    numbered(folders / "label")
    touching = score_objects([pair], {1: "gland"})["classes"]["gland"]
    assert (touching["found"], touching["false"], touching["missed"]) == (0, 1, 2)  # half of it is not more than half
    numbered(folders / "pred", (7, 3))  # any numbers
    (folders / "pred" / "case1_instances.csv").write_text(
        "id,class,score\n3,gland,0.25\n7,gland,0.75\n", encoding="utf-8"
    )
    found = score_objects([pair], {1: "gland"})
    assert found["classes"]["gland"]["pq"] == 1
    assert found["mean"]["pq"] == 1
    one = objects_of(load_pair(pair, {1: "gland"}), [1])[1]
    assert one.scores.tolist() == [0.25, 0.75]


def test_a_map_of_another_shape_is_refused(folders):
    Image.fromarray(np.ones((8, 8), np.uint16)).save(folders / "label" / "case1_instances.png")
    pair = Pair("case1", folders / "pred" / "case1.png", folders / "label" / "case1.png")
    with pytest.raises(
        ValueError, match=r"must hold whole numbers in the shape of case1.png, \(64, 64\), got \(8, 8\)"
    ):
        score_objects([pair], {1: "gland"})


def test_the_command_prints_and_keeps_them(folders):
    numbered(folders / "label")
    numbered(folders / "pred")
    places = [str(folders / name) for name in ("pred", "label")]
    result = CliRunner().invoke(
        app, ["evaluate", *places, "--labels", "1=gland", "--out", str(folders / "out"), "--instances"]
    )
    assert result.exit_code == 0, result.output
    assert "single objects" in result.output
    kept = read_summary(folders / "out")["objects"]["classes"]["gland"]
    assert (kept["pq"], kept["found"]) == (1, 2)
    assert "Single objects" in (folders / "out" / "report.md").read_text(encoding="utf-8")
    assert "Single objects" in (folders / "out" / "report.html").read_text(encoding="utf-8")
