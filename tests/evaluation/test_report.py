"""Summaries and reports, their numbers counted by hand."""

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from amsam_monai.evaluation.compare import compare_summaries
from amsam_monai.evaluation.pairs import LoadedPair, Pair
from amsam_monai.evaluation.pictures import worst_overlay, worst_slice
from amsam_monai.evaluation.published import published_confusion, published_datasets, published_results
from amsam_monai.evaluation.report import worst_cases, write_report
from amsam_monai.evaluation.scoring.protocols import get_protocol
from amsam_monai.evaluation.scoring.score import Score
from amsam_monai.evaluation.summary import bootstrap_means, read_summary, summarise

NAN = math.nan
LABELS = {1: "RV", 2: "LV"}


def scores_of(rv, lv):
    rows = []
    for case, pair in enumerate(zip(rv, lv, strict=True)):
        for name, value in zip(LABELS.values(), pair, strict=True):
            outcome = "both_empty" if math.isnan(value) else "missed" if value == 0 else "scored"
            rows.append(
                Score(f"case{case}", name, outcome, {"dice": value, "hd95_mm": NAN if math.isnan(value) else 2.0})
            )
    return rows


def summary_of(rv=(0.8, 0.6, 0.0), lv=(0.9, NAN, 0.5)):
    return summarise(scores_of(rv, lv), LABELS, get_protocol())


def test_a_summary_averages_cases_then_classes():
    summary = summary_of()
    assert summary["classes"]["RV"]["dice"]["mean"] == pytest.approx(1.4 / 3)
    assert summary["classes"]["LV"]["dice"]["mean"] == pytest.approx(0.7)
    assert summary["classes"]["LV"]["dice"]["n"] == 2
    assert summary["classes"]["LV"]["dice"]["sd"] == pytest.approx(np.std([0.9, 0.5], ddof=1))
    assert summary["classes"]["RV"]["dice"]["median"] == pytest.approx(0.6)
    assert summary["mean"]["dice"]["mean"] == pytest.approx((1.4 / 3 + 0.7) / 2)
    assert summary["classes"]["RV"]["outcomes"] == {"scored": 2, "missed": 1, "false": 0, "both_empty": 0}
    assert summary["classes"]["LV"]["outcomes"]["both_empty"] == 1


def test_a_bootstrap_interval_is_the_same_every_time_and_holds_the_mean():
    first, second = summary_of(), summary_of()
    low, high = first["mean"]["dice"]["ci95"]
    assert first == second
    assert low <= first["mean"]["dice"]["mean"] <= high


def test_a_bootstrap_sample_is_averaged_as_the_summary_is():
    table = np.array([[0.2, NAN], [0.4, 1.0]])
    draws = np.array([[0, 0], [1, 0], [1, 1]])
    assert bootstrap_means(table, draws) == pytest.approx([0.2, (0.3 + 1.0) / 2, 0.7])


def test_one_case_has_no_spread():
    row = summarise([Score("a", "RV", "scored", {"dice": 0.5})], {1: "RV"}, get_protocol())["mean"]["dice"]
    assert (row["mean"], row["sd"], row["ci95"], row["n"]) == (0.5, None, None, 1)


def test_a_class_without_any_value_leaves_the_mean_alone():
    summary = summary_of(rv=(0.5, 0.7), lv=(NAN, NAN))
    assert summary["classes"]["LV"]["dice"]["mean"] is None
    assert summary["mean"]["dice"]["mean"] == pytest.approx(0.6)


def test_no_scores_make_no_summary():
    with pytest.raises(ValueError, match="at least one score"):
        summarise([], LABELS, get_protocol())


def test_a_report_says_protocol_counts_and_values(tmp_path):
    scores = scores_of((0.8, 0.6, 0.0), (0.9, NAN, 0.5))
    summary = summarise(scores, LABELS, get_protocol(), notes=["255 in the label read as 1: 3 cases"])
    write_report(tmp_path, scores, summary, beside="acdc")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open(encoding="utf-8")))
    assert list(rows[0]) == ["case", "label", "dice", "hd95_mm", "outcome"]
    assert rows[0] == {"case": "case0", "label": "RV", "dice": "0.8", "hd95_mm": "2", "outcome": "scored"}
    assert rows[3]["dice"] == ""
    assert read_summary(tmp_path) == json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "protocol strict" in text
    assert "| RV | 3 | 1 | 0 | 0 |" in text
    assert "255 in the label read as 1" in text
    assert "MedSAM" in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 2
    assert "http" not in page


def test_an_approximate_protocol_says_so_unless_it_saw_logits(tmp_path):
    scores = [Score("a", "RV", "scored", {"dice": 0.5, "hd95_vox": 1.0})]
    approximate = summarise(scores, {1: "RV"}, get_protocol("aisam"))
    exact = summarise(scores, {1: "RV"}, get_protocol("aisam"), from_logits=True)
    assert "256 x 256 logits" in approximate["approximate"]
    assert exact["approximate"] == ""
    write_report(tmp_path, scores, approximate)
    assert "> Approximate: " in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_names_from_files_cannot_break_the_page(tmp_path):
    scores = [Score("<b>&", "<script>", "scored", {"dice": 0.5})]
    write_report(tmp_path, scores, summarise(scores, {1: "<script>"}, get_protocol()))
    assert "<script>" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_worst_case_comes_first():
    scores = scores_of((0.8, 0.6, 0.0), (0.9, NAN, 0.5))
    assert [case for case, _ in worst_cases(scores)] == ["case2", "case1", "case0"]
    far = [Score("near", "x", "scored", {"hd95_mm": 1.0}), Score("far", "x", "scored", {"hd95_mm": 9.0})]
    assert worst_cases(far, "hd95_mm")[0][0] == "far"


def test_the_worst_slice_has_the_most_wrong_voxels():
    pred, label = np.zeros((2, 3, 4, 4), np.uint8)
    pred[1, :2, 0], label[2, 0, 0], label[0] = 1, 1, 255
    assert worst_slice(pred, label) == 1
    assert worst_slice(label, label) == 0


def test_an_overlay_is_drawn_with_and_without_an_image(tmp_path):
    mask = np.zeros((12, 16), np.uint8)
    mask[3:9, 4:12] = 1
    Image.fromarray(mask * 90).save(tmp_path / "a.png")
    for image in (None, tmp_path / "a.png"):
        loaded = LoadedPair(Pair("a", tmp_path, tmp_path, image), np.roll(mask, 2, 0), mask, None)
        assert worst_overlay(loaded, {1: "x"}).startswith("data:image/jpeg;base64,")
    volume = np.repeat(mask[..., None], 3, axis=2)
    nib.save(nib.Nifti1Image(volume * np.int16(700), np.diag([1.0, 1.0, 5.0, 1.0])), tmp_path / "v.nii.gz")
    loaded = LoadedPair(Pair("v", tmp_path, tmp_path, tmp_path / "v.nii.gz"), volume, volume, (1.0, 1.0, 5.0))
    assert worst_overlay(loaded, {1: "x"}).startswith("data:image/jpeg;base64,")


def test_a_comparison_pairs_cases_and_classes():
    first = summary_of(rv=(0.5, 0.5, 0.5), lv=(0.5, 0.5, NAN))
    second = summary_of(rv=(0.6, 0.7, 0.8), lv=(0.5, 0.4, 0.9))
    rows, notes = compare_summaries(first, second)
    dice = {row.label: row for row in rows if row.column == "dice"}
    assert dice["RV"].difference == pytest.approx(0.2)
    assert dice["RV"].better == (3, 0)
    assert dice["RV"].p == pytest.approx(0.25)  # the smallest p of three pairs, two-sided: 2 / 2^3
    assert dice["LV"].pairs == 2
    assert dice["all"].pairs == 3
    assert {row.p for row in rows if row.column == "hd95_mm"} == {None}
    assert notes == []


def test_cases_of_one_summary_alone_are_counted():
    _, notes = compare_summaries(summary_of(rv=(0.5, 0.5), lv=(0.5, 0.5)), summary_of(rv=(0.5,) * 3, lv=(0.5,) * 3))
    assert notes == ["2 case-and-class rows are only in the second summary"]


def test_summaries_of_two_protocols_are_not_compared():
    other = {**summary_of(), "protocol": "aisam"}
    with pytest.raises(ValueError, match="one protocol, got strict and aisam"):
        compare_summaries(summary_of(), other)
    with pytest.raises(ValueError, match="must share cases"):
        compare_summaries(summary_of(), {**summary_of(), "scores": []})


def test_a_file_that_is_no_summary_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such summary"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="must have the format"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text("dice: 1", encoding="utf-8")
    with pytest.raises(ValueError, match="could not be read"):
        read_summary(tmp_path / "summary.json")


def value(source, method, dataset, metric, setting="automatic", label=None):
    found = [
        result.value
        for result in published_results(dataset, metrics=[metric], source=source)
        if (result.method, result.setting, result.label) == (method, setting, label)
    ]
    assert len(found) == 1
    return found[0]


def test_published_tables_are_those_of_the_papers():
    """Spot checks, one or two per table (arXiv:2410.09714, 2312.03119, 2306.06370)."""
    assert value("AM-SAM Table 1", "AM-SAM", "tiktok", "dice", "4 examples") == 81.3
    assert value("AM-SAM Table 2", "BLO-SAM", "human", "dice", "16 examples") == 92.4
    assert value("AM-SAM Table 3", "AM-SAM", "isic", "dice", "8 examples") == 73.6
    assert value("AM-SAM Table 4", "AM-SAM, detector alone", "isic", "dice", "4 examples") == 67.7
    assert value("AM-SAM Table 5", "test set", "tiktok", "images", "size") == 2000
    assert value("AI-SAM Table 1", "AI-SAM", "synapse", "dice") == 84.21
    assert value("AI-SAM Table 1", "AI-SAM", "synapse", "hd95", "ground-truth box") == 1.73
    assert value("AI-SAM Table 1", "MedSAM", "acdc", "dice", "ground-truth box", "Myo") == 16.5
    assert value("AI-SAM Table 1", "SAMed_h", "synapse", "dice", label="stomach") == 87.77
    assert value("AI-SAM Table 2", "AI-SAM", "acdc", "dice", "2 points per class") == 92.25
    assert value("AI-SAM Table 3", "AI-SAM without prompt heuristic loss", "acdc", "dice", "one-hot points") == 50.43
    assert value("AutoSAM Table 1", "AutoSAM", "monuseg", "iou") == 70.17
    assert value("AutoSAM Table 1", "SAM", "glas", "dice", "ground-truth mask as prompt") == 58.46
    assert value("AutoSAM Table 2", "AutoSAM", "etis", "iou") == 74.0
    assert value("AutoSAM Table 3", "VPS+", "sunseg_easy", "dice", "video-based, unseen") == 0.756
    assert value("AutoSAM Table 3", "AutoSAM", "sunseg_hard", "s_measure", "image-based, unseen") == 0.822


def test_published_results_belong_to_known_data_sets():
    assert {result.dataset for result in published_results()} == set(published_datasets())
    assert len(published_results()) == 652
    with pytest.raises(ValueError, match="data set must be one of"):
        published_results("cityscapes")


def test_the_published_confusion_shows_lv_inside_the_box_of_the_myocardium():
    figure = published_confusion()
    myo, lv = figure["labels"].index("Myo"), figure["labels"].index("LV")
    assert figure["ocm"]["box"][myo][lv] == 1.0
    assert figure["pcm"]["4 points"][lv][lv] == 0.9
