import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import amsam_monai
from amsam_monai.cli import app
from amsam_monai.data.files.images import read_label
from tests.label_app.nano_bundle import write_nano_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_nano_bundle(tmp_path, labels=("ball", "rim"), data_type="png", intensity={"mode": "bit_depth"})


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a", "b"):
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (30, 44, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def test_the_package_offers_its_names_and_imports_none_of_them_first():
    assert set(amsam_monai.__all__) <= set(dir(amsam_monai))
    code = "import sys, amsam_monai; print(sorted({'torch', 'monai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert callable(amsam_monai.load)
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        _ = amsam_monai.lod


@pytest.mark.parametrize("of_file", [False, True])
def test_a_model_segments_files_and_arrays_alike(bundle, images, tmp_path, of_file):
    model = amsam_monai.load(bundle / "models" / "model.pt" if of_file else bundle, device="cpu")
    assert (model.labels, model.settings.system) == ({1: "ball", 2: "rim"}, "amsam")
    result = model.segment(images / "a.png", probabilities=True)
    again = model.segment(np.asarray(Image.open(images / "a.png")))
    assert result.label.any()
    assert (result.label == again.label).all()
    assert result.probabilities.shape == (3, 30, 44)
    assert (read_label(result.save(tmp_path / "mask.png")).array == result.label).all()


def test_a_session_gives_the_mask_that_segment_gives(bundle, images):
    model = amsam_monai.load(bundle, device="cpu")
    session = model.session()
    session.open(images / "a.png")
    session.segment()
    assert (session.label.squeeze() == model.segment(images / "a.png").label).all()


def test_an_evaluation_of_its_own_masks_is_perfect_and_kept_where_asked(bundle, images, tmp_path):
    model = amsam_monai.load(bundle, device="cpu")
    labels = tmp_path / "labels"
    labels.mkdir()
    for path in images.iterdir():
        model.segment(path).save(labels / path.name)
    summary = model.evaluate(images, labels, out=tmp_path / "out")
    assert summary["mean"]["dice"]["mean"] == 1.0
    assert {"predictions", "scores.csv", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}
    (images / "c.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"every image must be segmented, 1 were not:\n.*c.png"):
        model.evaluate(images, labels)


def test_an_override_is_taken_and_what_training_fixed_is_refused(bundle):
    model = amsam_monai.load(bundle, device="cpu", settings={"slices": {"flips": ["horizontal"]}})
    assert model.bundle.segmenter().slices == {"flips": ["horizontal"]}
    assert isinstance(model.network, torch.nn.Module)
    with pytest.raises(ValueError, match=r"settings.classes must be .*ball.*, got .*liver"):
        amsam_monai.load(bundle, settings={"classes": {"liver": 1, "rim": 2}})


@pytest.mark.weights
def test_the_sample_of_the_readme_runs_on_real_files(tmp_path, monkeypatch):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    sample = readme.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["demo-data", "isic", "lesions", "--cases", "2"]).exit_code == 0
    variables = {}
    exec(sample, variables)
    assert variables["summary"]["mean"]["dice"]["mean"] > 0.5
    assert (tmp_path / "mask.png").is_file()
