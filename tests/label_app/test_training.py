"""`POST /train`: a bundle's own training on the saved labels, and what is served afterwards."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from amsam_monai import train
from amsam_monai.bundles.load import load_bundle
from amsam_monai.bundles.model_file import read_model
from amsam_monai.label_app.cases import LabelledCase, holds_class, training_entry
from amsam_monai.label_app.held_out import HeldOut
from amsam_monai.label_app.progress import TrainingProgress
from amsam_monai.label_app.training import TrainOptions, train_bundle
from tests.label_app.trainable_bundle import write_trainable_bundle


def save_ball(path, centre, value=1):
    """A volume with a bright ball, and its label beside it."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (32, 32, 6)), indexing="ij"))
    ball = sum((grid[axis] - centre[axis]) ** 2 * (1, 1, 9)[axis] for axis in range(3)) < 81
    noise = np.random.default_rng(0).normal(0, 5, ball.shape)
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image((ball * 100 + noise).astype(np.float32), affine), path)
    nib.save(nib.Nifti1Image((ball * value).astype(np.uint8), affine), path.parent / f"label-{path.name}")
    return path


def balls(folder, count=3):
    cases = []
    for number in range(count):
        image = save_ball(folder / f"p{number}_frame01.nii.gz", (14 + 2 * number, 15, 3))
        cases.append(LabelledCase(f"p{number}", f"p{number}", image, image.parent / f"label-{image.name}"))
    return cases


def adapter(root):
    return {name: value.clone() for name, value in read_model(root / "models" / "model.pt").adapter.items()}


def judged(monkeypatch, *scores):
    """Let the held-out cases have these scores, one after the other."""
    left = iter(scores)
    monkeypatch.setattr(HeldOut, "dice", lambda *_: next(left))


@pytest.mark.parametrize("method", ["amsam", "aisam", "autosam"])
def test_better_weights_are_served_and_the_old_ones_kept(tmp_path, method, monkeypatch):
    root = write_trainable_bundle(tmp_path, method)
    old, settings = adapter(root), read_model(root / "models" / "model.pt").settings
    judged(monkeypatch, 0.3, 0.6)
    options = TrainOptions(max_epochs=1, steps_per_epoch=2)
    stats = train_bundle(root, balls(tmp_path), options, cache=tmp_path / "cache")
    assert (stats["cases"], stats["validation_cases"], stats["served"]) == (2, 1, True)
    assert (stats["dice_before"], stats["dice_after"]) == (0.3, 0.6)
    kept = read_model(root / "models" / "previous" / stats["previous_weights"]).adapter
    assert all(torch.equal(kept[name], value) for name, value in old.items())
    new = adapter(root)
    assert list(new) == list(old)
    assert any(not torch.equal(new[name], value) for name, value in old.items())
    encoder = [name for name in old if name.startswith("sam.image_encoder.")]
    assert bool(encoder) == (method == "aisam")
    assert all(torch.equal(new[name], old[name].half().to(new[name])) for name in encoder)
    assert read_model(root / "models" / "model.pt").settings.labels == settings.labels == {1: "ball"}
    assert any((tmp_path / "cache").rglob("*"))
    assert load_bundle(root).labels == {1: "ball"}


def test_a_bundle_of_ones_own_labels_trains_on(tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    cases = balls(tmp_path)
    pairs = [{"image": str(case.image), "label": str(case.label)} for case in cases]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs), encoding="utf-8")
    nano = {"sam": {"backbone": "vit_nano", "weights": None}, "side": 64}
    told = {"labels": {1: "ball"}, "method": "plain", "folds": 0, "steps": 1}
    root = train(tmp_path / "pairs.json", tmp_path / "own", **told, **nano).root
    old = adapter(root)
    judged(monkeypatch, 0.3, 0.6)
    stats = train_bundle(root, cases, TrainOptions(max_epochs=1, steps_per_epoch=2), cache=tmp_path / "cache")
    assert stats["served"]
    assert any(not torch.equal(value, old[name]) for name, value in adapter(root).items())


def test_weights_that_are_no_better_are_not_served(tmp_path, monkeypatch):
    root = write_trainable_bundle(tmp_path, "amsam")
    before = (root / "models" / "model.pt").read_bytes()
    judged(monkeypatch, 0.6, 0.6)
    stats = train_bundle(root, balls(tmp_path), TrainOptions(max_epochs=1, steps_per_epoch=1), cache=tmp_path / "cache")
    assert not stats["served"]
    assert "no better on held-out cases" in stats["message"]
    assert stats["previous_weights"] is None
    assert (root / "models" / "model.pt").read_bytes() == before
    assert not (root / "models" / "previous").exists()


def told_by(monkeypatch):
    """What a training tells, file by file as it is written."""
    told, write = [], TrainingProgress._write

    def noted(progress, score):
        write(progress, score)
        told.append(json.loads(progress.path.read_text(encoding="utf-8")))

    monkeypatch.setattr(TrainingProgress, "_write", noted)
    return told


def test_the_dice_on_cases_left_out_is_told_while_the_training_runs(tmp_path, monkeypatch):
    root = write_trainable_bundle(tmp_path, "amsam")
    judged(monkeypatch, 0.1, 0.4, 0.3, 0.2)  # before, epochs 2 and 4, after
    told = told_by(monkeypatch)
    options = TrainOptions(max_epochs=5, steps_per_epoch=1, val_interval=2)
    train_bundle(root, balls(tmp_path), options, cache=tmp_path / "cache", progress=TrainingProgress(tmp_path / "t"))
    assert [facts["epoch"] for facts in told] == [0, 1, 2, 3, 4, 5, 5]
    assert [facts["eval"]["metrics"]["dice"] for facts in told] == [0.1, 0.1, 0.4, 0.4, 0.3, 0.3, 0.2]
    assert [facts["best_metric"] for facts in told] == [0.1, 0.1, 0.4, 0.4, 0.4, 0.4, 0.4]
    assert told[-1]["eval"]["best_metric_epoch"] == 2
    assert all(facts["train"]["metrics"]["loss"] > 0 for facts in told[1:])
    assert ["total_time" in facts for facts in told] == [False] * 6 + [True]
    assert ["current_time" in facts for facts in told] == [True] * 6 + [False]


@pytest.mark.parametrize(
    "method", ["amsam", *(pytest.param(name, marks=pytest.mark.slow) for name in ("aisam", "autosam"))]
)
def test_looking_at_cases_left_out_changes_nothing_of_the_training(tmp_path, method, monkeypatch):
    """The network that trains is scored as it stands, and goes on as if it had not been."""
    told, losses = told_by(monkeypatch), []
    for interval in (1, 9):
        root = write_trainable_bundle(tmp_path / str(interval), method)
        options = TrainOptions(max_epochs=3, steps_per_epoch=2, val_interval=interval)
        progress = TrainingProgress(tmp_path / "t.json")
        told.clear()
        train_bundle(root, balls(tmp_path), options, cache=tmp_path / "cache", progress=progress)
        losses.append([facts["train"]["metrics"]["loss"] for facts in told[1:]])
        assert 0 <= told[-1]["eval"]["metrics"]["dice"] <= 1
    assert losses[0] == losses[1]


def test_training_anew_takes_the_bundles_own_training(tmp_path):
    root = write_trainable_bundle(tmp_path, "amsam")
    options = TrainOptions(max_epochs=1, val_split=0, pretrained=False)
    stats = train_bundle(root, balls(tmp_path, 2), options, cache=tmp_path / "cache")
    assert (stats["cases"], stats["dice_before"], stats["served"]) == (2, None, True)


def test_a_label_is_handed_over_in_the_values_of_the_bundle(tmp_path):
    root = write_trainable_bundle(tmp_path, "amsam")
    image = save_ball(tmp_path / "p.nii.gz", (15, 15, 3), value=9)
    case = LabelledCase("p", "p", image, tmp_path / "label-p.nii.gz", {9: "Ball", 2: "other"})
    entry = training_entry(load_bundle(root), case, tmp_path / "labels")
    assert sorted(set(np.asarray(nib.load(entry["label"]).dataobj).flatten().tolist())) == [0, 6]
    assert entry["patient_id"] == "p"


def test_values_above_255_are_handed_over(tmp_path):
    root = write_trainable_bundle(tmp_path, "amsam")
    image = save_ball(tmp_path / "p.nii.gz", (15, 15, 3))
    loaded = load_bundle(root)
    loaded.settings = replace(loaded.settings, classes={"ball": 300})
    entry = training_entry(loaded, LabelledCase("p", "p", image, tmp_path / "label-p.nii.gz"), tmp_path / "labels")
    assert sorted(set(np.asarray(nib.load(entry["label"]).dataobj).flatten().tolist())) == [0, 300]


def test_labels_of_unknown_values_are_refused_rather_than_trained_as_empty(tmp_path, caplog):
    root = write_trainable_bundle(tmp_path, "amsam")
    image = save_ball(tmp_path / "p.nii.gz", (15, 15, 3), value=255)
    case = LabelledCase("p", "p", image, tmp_path / "label-p.nii.gz")
    assert not holds_class(case, {1: "ball"})
    assert holds_class(LabelledCase("p", "p", image, tmp_path / "label-p.nii.gz", {255: "ball"}), {1: "ball"})
    with pytest.raises(ValueError, match="no saved label fits the bundle's classes"):
        train_bundle(root, [case], TrainOptions(max_epochs=1, val_split=0))
    assert "its label must hold {1: 'ball'}, got the values [0, 255]" in caplog.text


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"max_epochs": "many"}, "must be numbers"),
        ({"max_epochs": 0}, r"max_epochs must lie in 1\.\.100000, got 0"),
        ({"max_epochs": float("inf")}, "must be numbers"),
        ({"max_epochs": 1e308}, "max_epochs must lie in .*, got 1e\\+308"),
        ({"val_interval": 0}, "val_interval must lie in"),
        ({"seed": -5}, r"seed must lie in 0\.\.4294967295, got -5"),
        ({"val_split": 1.0}, r"must lie in \[0, 1\), got 1.0"),
    ],
)
def test_training_options_that_are_none_are_refused(request_, message):
    with pytest.raises(ValueError, match=message):
        TrainOptions.of_request(request_)


def test_training_options_are_read_as_clients_send_them():
    read = TrainOptions.of_request({"model": "x", "max_epochs": "3", "pretrained": "false", "seed": None})
    assert read == TrainOptions(max_epochs=3, pretrained=False)
