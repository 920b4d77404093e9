"""`amsam evaluate` and `amsam compare` from the outside."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from amsam_monai.cli import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folders(tmp_path):
    """Three ISIC-like cases: half right, missed, perfect; predictions of 0 and 255."""
    label = np.zeros((24, 32), np.uint8)
    label[6:18, 8:24] = 255
    half = label.copy()
    half[12:] = 0
    for name, pred in (("a", half), ("b", label * 0), ("c", label)):
        for folder, file, array in (
            ("pred", f"ISIC_{name}_pred.png", pred),
            ("gt", f"ISIC_{name}_segmentation.png", label),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / file)
    return tmp_path


def test_evaluate_scores_pictures_and_writes_four_files(folders):
    result = run("evaluate", folders / "pred", folders / "gt", "--labels", "1=lesion", "--out", folders / "out",
                 "--images", folders / "gt", "--beside", "isic")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "255 in the label read as 1: 3 cases" in result.output
    rows = list(csv.DictReader((folders / "out" / "scores.csv").open(encoding="utf-8")))
    assert list(rows[0])[:4] == ["case", "label", "dice", "hd95_vox"]
    assert {row["case"]: float(row["dice"]) for row in rows} == pytest.approx(
        {"ISIC_a": 2 / 3, "ISIC_b": 0.0, "ISIC_c": 1.0}, abs=1e-5
    )
    assert float(rows[1]["hd95_vox"]) == 40.0  # the diagonal of 24 x 32
    summary = json.loads((folders / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["protocol"] == "strict"
    assert summary["classes"]["lesion"]["outcomes"]["missed"] == 1
    page = (folders / "out" / "report.html").read_text(encoding="utf-8")
    assert page.index(">ISIC_b<") < page.index(">ISIC_a<") < page.index(">ISIC_c<")
    assert "73.6" in page


@pytest.mark.parametrize("protocol", ["transunet", "aisam", "autosam", "blosam"])
def test_evaluate_says_where_a_protocol_is_approximate(folders, protocol):
    result = run("evaluate", folders / "pred", folders / "gt", "--labels", "1=lesion", "--out", folders / "out",
                 "--protocol", protocol, "--worst", 0)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert ("approximate" in result.output) == (protocol != "transunet")


def test_evaluate_adds_the_measures_of_polyps(folders):
    result = run("evaluate", folders / "pred", folders / "gt", "--labels", "1=polyp", "--out", folders / "out", "--sod")
    assert result.exit_code == 0, result.output
    row = next(csv.DictReader((folders / "out" / "scores.csv").open(encoding="utf-8")))
    assert {"s_measure", "e_measure", "weighted_f", "f_mean"} <= set(row)


def test_evaluate_refuses_in_one_line_and_writes_nothing(folders):
    (folders / "pred" / "ISIC_b_pred.png").unlink()
    result = run("evaluate", folders / "pred", folders / "gt", "--labels", "1=lesion", "--out", folders / "out")
    assert result.exit_code == 1
    assert "ISIC_b_segmentation.png: no prediction" in result.output
    assert not (folders / "out").exists()
    again = run("evaluate", folders / "pred", folders / "gt", "--labels", "1=lesion", "--out", folders / "out",
                "--only-matched")  # fmt: skip
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--labels", "lesion", "labels must read"),
        ("--protocol", "medpy", "protocol must be one of"),
        ("--beside", "mnist", "data set must be one of"),
        ("--side", 256, "side belongs to protocol autosam"),
    ],
)
def test_evaluate_refuses_options_that_make_no_sense(folders, option, value, message):
    result = run("evaluate", folders / "pred", folders / "gt", "--labels", "1=lesion", "--out", folders / "out", option,
                 value)  # fmt: skip
    assert result.exit_code == 1
    assert message in result.output


def test_compare_prints_a_paired_table(folders):
    for name, pred in (("first", "pred"), ("second", "gt")):
        result = run("evaluate", folders / pred, folders / "gt", "--labels", "1=lesion", "--out", folders / name)
        assert result.exit_code == 0, result.output
    result = run("compare", folders / "first" / "summary.json", folders / "second")
    assert result.exit_code == 0, result.output
    assert "Wilcoxon" in result.output
    line = next(line for line in result.output.splitlines() if "dice" in line)
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        "dice", "lesion", "3", "0.5556", "1.0000", "0.4444", "2 / 0", "0.5"
    ]  # fmt: skip


def test_compare_refuses_what_is_no_summary(tmp_path):
    result = run("compare", tmp_path, tmp_path)
    assert result.exit_code == 1
    assert "no such summary" in result.output


def test_labels_in_an_order_of_their_own_are_mapped_by_name(tmp_path):
    label = np.zeros((8, 10), np.uint8)
    label[1:4, 1:4], label[5:7, 5:9] = 1, 2
    for folder, array in (("pred", label), ("gt", np.array([0, 2, 1], np.uint8)[label])):
        (tmp_path / folder).mkdir()
        Image.fromarray(array).save(tmp_path / folder / "a.png")
    options = ["--labels", "1=RV,2=Myo", "--out", tmp_path / "out"]
    result = run("evaluate", tmp_path / "pred", tmp_path / "gt", *options, "--map", "Myo=1,RV=2")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open(encoding="utf-8")))
    assert {row["label"]: float(row["dice"]) for row in rows} == {"RV": 1.0, "Myo": 1.0}
    result = run("evaluate", tmp_path / "pred", tmp_path / "gt", *options, "--map", "Myo=1")
    assert result.exit_code == 1
    assert "map must name every class of the table, got none for RV" in " ".join(result.output.split())
