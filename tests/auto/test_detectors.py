"""Which detector AM-SAM trains with, and that it does without Ultralytics."""

import sys

import pytest
import yaml

from amsam_monai import load, train
from amsam_monai.auto.available import available
from amsam_monai.auto.detectors import choose_detector
from amsam_monai.auto.methods import METHODS, recipe_text
from amsam_monai.auto.plan import Plan, choose
from amsam_monai.bundles.model_file import read_model
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.networks.weights import store
from amsam_monai.phantoms.sets import write_phantoms
from tests.auto.test_plan import seen


@pytest.fixture
def without_ultralytics(monkeypatch):
    """As where the extra is not installed."""
    for name in [name for name in sys.modules if name.split(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ultralytics", None)


def without_yolo_weights(name):
    if name == "yolo26n":
        raise FileNotFoundError(name)


def test_the_detector_is_the_one_that_is_told():
    assert choose_detector("embedding").value == "embedding"
    assert choose_detector("yolo").value == "yolo"
    with pytest.raises(ValueError, match="detector must be one of yolo, embedding, got 'rcnn'"):
        choose_detector("rcnn")


def test_without_ultralytics_it_is_the_one_that_reads_sams_embedding(without_ultralytics):
    chosen = choose_detector()
    assert chosen.value == "embedding"
    assert "ultralytics is not here" in chosen.reason


def test_without_yolos_weights_too(monkeypatch):
    pytest.importorskip("ultralytics", reason="the detector extra is not installed")
    monkeypatch.setattr(store, "path", without_yolo_weights)
    chosen = choose_detector()
    assert chosen.value == "embedding"
    assert "weights of yolo26n are not here" in chosen.reason
    assert "amsam" in available()


@pytest.mark.parametrize(("told", "architecture"), [("embedding", "embedding"), ("yolo", "yolo"), (None, "yolo")])
def test_the_recipe_says_which(told, architecture):
    choices = choose(seen("picture"))
    if told is not None:  # plans of before have none
        choices["detector"] = choose_detector(told)
    plan = Plan("mine", {"a": 3}, seen("picture").to_mapping(), choices, ["x"], [])
    made = {name: yaml.safe_load(recipe_text(plan, method))["train.yaml"] for name, method in METHODS.items()}
    assert made["amsam"]["settings#detector"] == {"file": "detector.pth", "architecture": architecture}
    assert "settings#detector" not in made["plain"]


def test_without_ultralytics_am_sam_trains_and_segments(without_ultralytics, tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    list(write_phantoms("isic", tmp_path / "skin", cases=2, side=48))
    told = []
    small = {"sam": {"backbone": "vit_nano", "weights": None}, "side": 64, "steps": 1, "folds": 0}
    trained = train(tmp_path / "skin", tmp_path / "mine", method="amsam", say=told.append, **small)
    assert any(line.startswith("detector: embedding - ") and "[--detector]" in line for line in told)
    settings = read_model(trained.root / "models" / "model.pt").settings
    assert settings.detector == {"file": "detector.pth", "architecture": "embedding"}
    model = load(trained.root, device="cpu")
    assert isinstance(model.network.detector, EmbeddingDetector)
    image = next(iter(sorted((tmp_path / "skin" / "images").iterdir())))
    assert model.segment(image).label.shape == (48, 48)
    assert sys.modules["ultralytics"] is None
