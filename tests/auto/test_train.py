"""From a folder to a bundle that every door serves, on phantoms."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from amsam_monai import load, train
from amsam_monai.auto.last_training import APART
from amsam_monai.auto.trial import train_method
from amsam_monai.bundles.load import load_bundle
from amsam_monai.bundles.model_file import read_model
from amsam_monai.cli.train import app
from amsam_monai.phantoms.sets import write_phantoms

NANO = {"backbone": "vit_nano", "weights": None}
QUICK = {"sam": NANO, "side": 64, "steps": 3, "folds": 2}


@pytest.fixture
def skin(tmp_path, monkeypatch):
    """Pictures with masks of 0 and 255, as people have them."""
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    list(write_phantoms("isic", tmp_path / "skin", cases=4, side=48))
    return tmp_path / "skin"


@pytest.fixture
def hearts(tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    list(write_phantoms("acdc", tmp_path / "hearts", cases=3, side=48))
    return tmp_path / "hearts"


def test_pictures_become_a_bundle_with_plan_and_report(skin, tmp_path):
    told = []
    trained = train(skin, tmp_path / "mine", method="plain", say=told.append, **QUICK)
    assert trained.method == "plain"
    settings = read_model(trained.root / "models" / "model.pt").settings
    assert settings.classes == {"foreground": 1}
    assert settings.limits["cases"] == 4
    assert settings.quality["case"]["count"] == 4
    plan = json.loads((trained.root / "plan.json").read_text(encoding="utf-8"))
    assert plan["steps"]["final"] == {"plain": 3}
    assert plan["choices"]["mirrors"]["value"] == ["horizontal", "vertical"]
    report = (trained.root / "report" / "report.html").read_text(encoding="utf-8")
    assert "foreground" in report
    written = (trained.root / "report" / "plan.md").read_text(encoding="utf-8")
    assert "| plain | 1 |" in written
    assert "is fitted on 4 left-out cases, which are few" in written
    assert "detector" not in plan["choices"]  # plain has none
    assert not (trained.root / ".trials").exists()
    image = next(iter(sorted((skin / "images").iterdir())))
    label = load_bundle(trained.root, device="cpu").segmenter()(image).label
    assert (load(trained.root).segment(image).label == label).all()


def test_volumes_are_chosen_for_and_can_be_corrected(hearts, tmp_path):
    trained = train(hearts, tmp_path / "mine", method="plain", **QUICK)
    assert list(read_model(trained.root / "models" / "model.pt").settings.classes) == ["RV", "Myo", "LV"]
    model = load(trained.root, device="cpu")
    volume = next(iter(sorted(hearts.rglob("*frame01.nii.gz"))))
    automatic = model.segment(volume).label
    session = model.session()
    session.open(volume)
    session.segment("all")
    assert np.mean(session.label != automatic) < 0.001  # a tie of two classes, rounded otherwise in another batch


def test_what_was_stopped_goes_on_and_ends_the_same(skin, tmp_path, monkeypatch):
    whole = train(skin, tmp_path / "whole", method="plain", **QUICK)
    from amsam_monai.auto import last_training as module

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(module, "train_method", stop)
        with pytest.raises(KeyboardInterrupt):
            train(skin, tmp_path / "again", method="plain", **QUICK)
    with pytest.raises(ValueError, match="has other seed: 0, got 1"):
        train(skin, tmp_path / "again", method="plain", seed=1, **QUICK)
    told = []
    again = train(skin, tmp_path / "again", method="plain", say=told.append, **QUICK)
    assert any("going on with" in line for line in told)
    first, second = (read_model(one.root / "models" / "model.pt").adapter for one in (whole, again))
    assert all((first[name] == second[name]).all() for name in first)
    with pytest.raises(FileExistsError, match="trained already; name another folder, or go on from it with --from"):
        train(skin, tmp_path / "again", method="plain", **QUICK)


def test_the_weights_of_several_runs_are_averaged_and_a_stop_loses_none(skin, tmp_path, monkeypatch):
    def adapter(name, seed=0, **more):
        told = {**QUICK, "folds": 0, "seed": seed} | more
        root = train(skin, tmp_path / name, method="plain", **told).root
        return read_model(root / "models" / "model.pt").adapter

    first, second = adapter("first"), adapter("second", seed=APART)
    seeds = []

    def stopped(*args, **more):
        seeds.append(more["more"]["seed"])
        if len(seeds) == 2:
            raise KeyboardInterrupt
        return train_method(*args, **more)

    monkeypatch.setattr("amsam_monai.auto.last_training.train_method", stopped)
    with pytest.raises(KeyboardInterrupt):
        adapter("mean", runs=2, folds=2, suspects="keep")
    both = adapter("mean", runs=2, folds=2, suspects="keep")
    assert seeds == [0, APART, APART]
    assert both.keys() == first.keys()
    for name, value in both.items():
        mean = (first[name].float() + second[name].float()) / 2
        assert torch.equal(value, mean.to(value.dtype)), name
    with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
        adapter("none", runs=0)


def test_a_folder_that_holds_something_else_is_refused(skin, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="must be a new folder"):
        train(skin, tmp_path / "full", method="plain", **QUICK)


def test_the_command_tells_what_it_cannot_do(skin, tmp_path):
    result = CliRunner().invoke(app, [str(skin), "--out", str(tmp_path / "mine"), "--method", "magic"])
    assert result.exit_code == 1
    assert "method must be one of plain" in result.output + (result.stderr if result.stderr_bytes else "")


@pytest.mark.slow
def test_minutes_become_steps_in_the_plan(skin, tmp_path):
    told = []
    trained = train(skin, tmp_path / "mine", method="plain", sam=NANO, side=64, folds=0, minutes=0.1, say=told.append)
    assert trained.chosen is None
    assert 20 <= trained.plan.steps["final"]["plain"] <= 1500
    assert trained.plan.seconds["plain"] > 0
    assert any("s a step" in line for line in told)


@pytest.mark.slow
def test_the_last_training_has_the_time_that_is_left(skin, tmp_path):
    told = []
    trained = train(skin, tmp_path / "mine", method="plain", sam=NANO, side=64, folds=2, minutes=1, say=told.append)
    plan = trained.plan
    assert plan.timing > 0
    last, runs = plan.steps["last"]["plain"], plan.runs("last", "plain")
    assert any(f"plain: training on 4 cases, {last} steps" in line for line in told)
    assert last * runs >= plan.steps["final"]["plain"] // 2
