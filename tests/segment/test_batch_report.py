"""The report of a batch: the doubtful first, in JSON, in a table and on a page of overlays."""

import csv
import json

from amsam_monai.segment.batch_report import Record, doubtful_first, write_report


def told(value, error=0.05, slices=()):
    return {"case": (value, error), "slices": [(one, 0.1) for one in slices]}


def records(folder):
    sure = {"liver": told(0.95, slices=[0.9, 0.97]), "spleen": told(0.93, slices=[0.95, 0.96])}
    poor = {"liver": told(0.9, slices=[0.9, 0.8, 0.7]), "spleen": told(0.4, slices=[0.95, 0.2, 0.75])}
    return [
        Record("sure.nii", "done", "sure_seg.nii", quality=sure, files=[str(folder / "out" / "sure_overlay.png")]),
        Record("=broken.nii", "failed", error="truncated"),
        Record(
            "poor.nii",
            "done",
            "poor_seg.nii",
            quality=poor,
            files=[str(folder / "a b_overlay.png")],
            warnings=["<odd>"],
        ),
    ]


def test_the_worst_class_decides_who_comes_first(tmp_path):
    assert [record.input for record in doubtful_first(records(tmp_path))] == ["poor.nii", "sure.nii", "=broken.nii"]
    plain = [Record(name, "done", "x") for name in "cab"]
    assert doubtful_first(plain) == plain


def test_report_table_and_page_have_one_order(tmp_path):
    path = tmp_path / "out" / "segment_report.json"
    path.parent.mkdir()
    write_report(records(tmp_path), path)
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    assert [case["input"] for case in cases] == ["poor.nii", "sure.nii", "=broken.nii"]
    assert cases[0]["quality"]["spleen"] == {"case": [0.4, 0.05], "slices": [[0.95, 0.1], [0.2, 0.1], [0.75, 0.1]]}
    rows = list(csv.DictReader(path.with_suffix(".csv").open(encoding="utf-8")))
    assert [row["input"] for row in rows] == ["poor.nii", "sure.nii"]
    assert rows[0] == {
        "input": "poor.nii",
        "quality_liver": "0.9",
        "error_liver": "0.05",
        "quality_spleen": "0.4",
        "error_spleen": "0.05",
        "slices": "1 2 0",
        "warnings": "<odd>",
    }
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    assert page.index("../a%20b_overlay.png") < page.index("sure_overlay.png")
    assert "spleen: 0.40 ± 0.05" in page
    assert "&lt;odd&gt;" in page
    assert not list(tmp_path.rglob("*partial*"))


def test_without_quality_there_is_the_report_alone(tmp_path):
    write_report([Record("a.nii", "done", "b.nii", files=["b_overlay.png"])], tmp_path / "segment_report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["segment_report.json"]


def test_what_is_passed_over_keeps_its_quality(tmp_path):
    path = tmp_path / "segment_report.json"
    write_report(records(tmp_path), path)
    write_report([Record("sure.nii", "skipped", "sure_seg.nii"), Record("poor.nii", "skipped", "poor_seg.nii")], path)
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    assert [(case["input"], case["status"]) for case in cases] == [("poor.nii", "skipped"), ("sure.nii", "skipped")]


def test_a_network_that_is_not_calibrated_tells_no_error(tmp_path):
    raw = Record("a.nii", "done", "b.nii", quality={"liver": {"case": (0.91, None), "slices": []}})
    write_report([raw], tmp_path / "r.json")
    (row,) = csv.DictReader((tmp_path / "r.csv").open(encoding="utf-8"))
    assert (row["quality_liver"], row["error_liver"], row["slices"]) == ("0.91", "", "")
