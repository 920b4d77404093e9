"""Reports that leave the house: no name of a file, nor of a patient whose name a file bears, stands in them."""

import csv
import json

import numpy as np
from typer.testing import CliRunner

from amsam_monai.bundles.run import run_training
from amsam_monai.cli import app
from amsam_monai.segment.batch_report import Record, without_names
from tests.data.tiny_sets import mask, picture, save_picture
from tests.label_app.nano_bundle import write_nano_bundle
from tests.label_app.test_training import save_ball
from tests.label_app.trainable_bundle import write_trainable_bundle

NAMES = ("Smith_John", "Müller Anna")


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def texts(folder):
    """Of all reports in a folder."""
    found = [path for path in folder.iterdir() if path.suffix in (".json", ".csv", ".md", ".html")]
    assert found
    return "\n".join(path.read_text(encoding="utf-8") for path in found)


def test_inputs_of_a_run_are_numbered_in_its_report(tmp_path):
    for name in NAMES:
        picture(tmp_path / "Jane Doe" / f"{name}.png", 32, 32)
    (tmp_path / "Jane Doe" / "Broken_Bob.png").write_bytes(b"nothing")
    bundle = write_nano_bundle(tmp_path, labels=("lesion",), data_type="png")
    options = ("--bundle", bundle, "--overlay", "--no-names")
    for more in ((), ("--resume",)):
        assert run("segment", tmp_path / "Jane Doe", tmp_path / "out", *options, *more).exit_code == 1
        text = texts(tmp_path / "out")
        assert not [name for name in (*NAMES, "Jane", "Broken") if name in text or json.dumps(name)[1:-1] in text]
        cases = json.loads((tmp_path / "out" / "segment_report.json").read_text(encoding="utf-8"))["cases"]
        assert sorted(case["input"] for case in cases) == ["case 1", "case 2", "case 3"]
        broken = next(case for case in cases if case["input"] == "case 1")
        assert broken["error"].startswith("cannot be read")
        assert all(case["shape"] == [32, 32] for case in cases if case is not broken)


def test_every_text_of_a_record_is_without_its_name():
    record = Record("/data/Smith/Smith_John.nii.gz", "failed", error="/data/Smith/Smith_John.nii.gz: no such file.")
    record.notes, record.warnings = ["Smith_John has 3 phases"], ["smithy holds nothing"]
    (told,) = without_names([record], ["/data/a.png", record.input])
    assert (told.input, told.error, told.notes) == ("case 2", "case 2: no such file.", ["case 2 has 3 phases"])
    assert told.warnings == ["smithy holds nothing"]


def test_cases_of_an_evaluation_are_numbered_in_all_its_reports(tmp_path):
    for name in NAMES:
        mask(tmp_path / "labels" / f"{name}.png", value=1)
        save_picture(tmp_path / "pred" / f"{name}.png", np.zeros((12, 16), np.uint8))
    folders = tmp_path / "pred", tmp_path / "labels"
    options = ("--labels", "1=lesion", "--out", tmp_path / "out", "--instances")
    result = run("evaluate", *folders, *options, "--no-names")
    assert result.exit_code == 0, result.output
    text = texts(tmp_path / "out")
    assert not [name for name in (*NAMES, "Smith", "Anna") if name in text]
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open(encoding="utf-8")))
    assert [row["case"] for row in rows] == ["case 1", "case 2"]
    assert "case 1" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_logs_of_a_training_count_volumes_and_name_none(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    cases = []
    for name in ("Smith_John", "Mueller_Anna"):
        image = save_ball(tmp_path / f"{name}.nii.gz", (14, 15, 3))
        label = str(image.parent / f"label-{image.name}")
        cases.append({"image": str(image), "label": label, "label_rule": "table", "case_id": name})
    bundle = write_trainable_bundle(tmp_path / "bundles", "amsam", classes="{ball: 1}")
    options = {"max_epochs": 1, "batch_size": 1, "steps_per_epoch": 2, "val_interval": 1}
    with caplog.at_level("INFO"):
        run_training(
            bundle, datalist={"train": cases, "val": cases, "test": []}, root=tmp_path / "out", overrides=options
        )
    assert "2 volumes" in caplog.text
    assert not [name for name in ("Smith", "Mueller") if name in caplog.text]
