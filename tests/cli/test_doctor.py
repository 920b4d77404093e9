"""`amsam doctor` says what is there, and the command that mends what is not."""

import json
import socket
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from amsam_monai.bundles.model_file import write_model
from amsam_monai.cli import app
from amsam_monai.doctor import machine, models, packages
from amsam_monai.doctor.check import Check


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Folders of weights, embeddings and bundles that are empty."""
    for variable in ("AMSAM_WEIGHTS", "AMSAM_CACHE", "AMSAM_BUNDLES"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_name(checks):
    return {check.name: check for check in checks}


def test_every_required_package_is_listed_and_here():
    found = by_name(packages.packages())
    assert {"torch", "monai", "nibabel", "SimpleITK", "segment-anything"} <= found.keys()
    assert all(check.state == "ok" for check in found.values() if check.topic == "packages")
    assert packages.python().state == "ok"


def test_a_missing_and_an_old_package_come_with_the_command(monkeypatch):
    versions = {"torch": None, "monai": "1.0.0"}
    real = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: versions[name] if name in versions else real(name))
    found = by_name(packages.packages())
    assert (found["torch"].state, found["torch"].found) == ("failed", "not installed")
    assert found["torch"].mend.startswith('pip install "torch>=')
    assert found["monai"].state == "failed"
    assert found["monai"].found.startswith("1.0.0 is installed, must be >=")


def test_the_label_server_is_not_to_be_installed_here(monkeypatch):
    """Its pip command would take numpy and pydicom of this environment back."""
    real = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: None if name in ("monailabel", "onnx") else real(name))
    found = by_name(packages.packages())
    assert found["label"].mend.endswith("make an environment for it, as docs/monai_label.md shows")
    assert found["export"].mend.startswith('pip install "onnx')


def test_an_untrained_bundle_comes_with_a_command_to_copy(here):
    root = here / "amsam_bundles" / "mine"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text("{}", encoding="utf-8")
    found = by_name(models.bundles())["mine"]
    assert (found.state, found.found) == ("optional", "not trained yet")
    command = "python -m monai.bundle run --config_file configs/train.yaml --dataset_dir DIR"
    assert found.mend == f"cd {root} && {command}"


def test_damaged_weights_are_found(here):
    (here / "amsam_weights").mkdir()
    (here / "amsam_weights" / "mobile_sam.pt").write_bytes(b"not the file")
    found = by_name(models.weights())
    assert found["mobile_sam"].state == "failed"
    assert "amsam weights fetch mobile_sam" in found["mobile_sam"].mend
    assert (found["yolo26n"].state, found["yolo26n"].mend) == ("optional", "amsam weights fetch yolo26n")


def test_a_taken_port_is_said(monkeypatch):
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        monkeypatch.setattr(machine, "PORTS", {"amsam annotate": door.getsockname()[1]})
        (taken,) = machine.ports()
    assert taken.found.endswith("is taken by another program")
    assert taken.mend.startswith("choose another: amsam annotate --port ")


def test_a_folder_that_cannot_be_written_to_is_said(here, monkeypatch):
    (here / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("AMSAM_CACHE", str(here / "file" / "below"))
    found = by_name(machine.folders())
    assert found["embeddings"].state == "failed"
    assert found["embeddings"].mend == "set AMSAM_CACHE to a folder of yours"
    assert found["temporary files"].state == "ok"


def test_a_damaged_bundle_fails_the_command_and_the_report_names_nobody(here, monkeypatch):
    root = here / "amsam_bundles" / "mine"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text("{}", encoding="utf-8")
    (root / "models").mkdir()
    (root / "models" / "model.pt").write_bytes(b"half a file")
    monkeypatch.setattr(Path, "home", lambda: here)
    result = CliRunner().invoke(app, ["doctor", "--report", str(here / "report.json")])
    assert result.exit_code == 1
    assert "FAIL bundles   mine" in result.output
    assert result.output.splitlines()[0].endswith("ok: fine   -: optional, not here   FAIL: to mend")
    assert result.output.splitlines()[-1].endswith("to mend: mine")
    report = json.loads((here / "report.json").read_text(encoding="utf-8"))
    assert str(here) not in json.dumps(report)
    assert {check["topic"] for check in report["checks"]} >= {"packages", "machine", "folders", "ports", "bundles"}


@pytest.mark.parametrize(("architecture", "state"), [("yolo", "optional"), ("embedding", "ok")])
def test_a_bundle_whose_detector_needs_what_is_not_here_says_so(here, monkeypatch, architecture, state):
    root = here / "amsam_bundles" / "mine"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text("{}", encoding="utf-8")
    settings = {
        "system": "amsam",
        "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
        "classes": {"a": 1},
        "detector": {"file": "detector.pth", "architecture": architecture},
    }
    write_model(root / "models" / "model.pt", {"weight": torch.zeros(1)}, settings)
    monkeypatch.setattr(models, "_has_ultralytics", lambda: False)
    found = by_name(models.bundles())["mine"]
    assert found.state == state
    assert ("needs ultralytics" in found.found) == (state == "optional")


def test_a_state_is_one_of_three():
    with pytest.raises(ValueError, match="state must be one of"):
        Check("packages", "torch", "fine", "2.4")
