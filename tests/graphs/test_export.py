"""A bundle as files for other runtimes: what is written, what is compared, what is refused."""

import dataclasses
import importlib.util
import json

import pytest
import torch
from typer.testing import CliRunner

import amsam_monai
from amsam_monai.cli import app
from amsam_monai.graphs import export as exporting
from amsam_monai.graphs.formats import FORMATS, write_torchscript
from amsam_monai.networks.weights.store import digest
from tests.label_app.nano_bundle import write_nano_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_nano_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def exported(bundle, tmp_path_factory):
    return amsam_monai.export(bundle, tmp_path_factory.mktemp("out") / "model", format="torchscript")


def test_settings_say_all_that_a_runtime_must_know(exported, bundle):
    told = json.loads((exported.folder / "settings.json").read_text(encoding="utf-8"))
    assert told == exported.settings
    assert told["labels"] == {"1": "liver", "2": "spleen"}
    assert told["model"]["sha256"] == digest(bundle / "models" / "model.pt")
    assert told["package"].startswith("amsam-monai ")
    (network,) = told["networks"]
    assert (network["size"], network["resize"]) == (64, "pad")
    assert network["fill"] == pytest.approx([0.485, 0.456, 0.406], abs=1e-3)
    assert list(network["graphs"]) == ["encoder", "automatic", "prompted"]
    files = {"settings.json"}
    for graph in network["graphs"].values():
        assert max(graph["differences"].values()) < 1e-3
        assert sorted(graph["differences"]) == ["picture", "random"]
        for name, sha256 in graph["sha256"].items():
            assert digest(exported.folder / name) == sha256
            files.add(name)
    assert {path.name for path in exported.folder.iterdir()} == files


def test_the_light_form_is_one_file(tmp_path):
    bundle = write_nano_bundle(tmp_path, system="autosam", data_type="jpg")
    done = amsam_monai.export(bundle, tmp_path / "light", format="torchscript", settings={"arguments": {"light": True}})
    assert sorted(path.name for path in done.folder.iterdir()) == ["automatic.ts", "settings.json"]
    assert sorted(done.left_out) == ["encoder", "prompted"]


def test_a_file_that_differs_is_not_left(bundle, tmp_path, monkeypatch):
    def write_another(graph, example, path):
        with torch.no_grad():
            for parameter in graph.parameters():
                parameter += 0.01
        write_torchscript(graph, example, path)
        with torch.no_grad():
            for parameter in graph.parameters():
                parameter -= 0.01

    another = dataclasses.replace(FORMATS["torchscript"], write=write_another)
    monkeypatch.setitem(exporting.FORMATS, "torchscript", another)
    with pytest.raises(ValueError, match=r"encoder: embedding must be within 0.001 of PyTorch's, differs by"):
        amsam_monai.export(bundle, tmp_path / "model", format="torchscript")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_refused(bundle, tmp_path):
    (tmp_path / "kept.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="must be a new or empty folder"):
        amsam_monai.export(bundle, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_an_unknown_format_is_refused(bundle, tmp_path):
    with pytest.raises(ValueError, match="format must be one of onnx, torchscript, openvino, got 'tflite'"):
        amsam_monai.export(bundle, tmp_path / "model", format="tflite")


def test_a_missing_package_is_told(bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], packages=("onnx_not_here",)))
    with pytest.raises(ImportError, match="this format needs onnx_not_here; pip install onnx_not_here"):
        amsam_monai.export(bundle, tmp_path / "model")


def test_the_command_tells_files_and_differences(tmp_path):
    bundle = write_nano_bundle(tmp_path, system="autosam", data_type="jpg")
    command = ["export", str(bundle), str(tmp_path / "model"), "--format", "torchscript", "--light"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "automatic.ts: " in said
    assert " of PyTorch" in said
    assert "no prompted: the light form takes no prompts" in said


@pytest.mark.slow
@pytest.mark.parametrize("system", ["amsam", "aisam", "autosam"])
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_other_formats_are_as_close(system, format, tmp_path):
    if importlib.util.find_spec(format) is None:  # an import of openvino may tell its makers
        pytest.skip(f"needs {format}")
    bundle = write_nano_bundle(tmp_path, system=system)
    done = amsam_monai.export(bundle, tmp_path / "model", format=format)
    assert len(done.differences) == 3
    assert max(done.differences.values()) < 1e-3
