"""A bundle's training runs from Python, as often as one likes, and leaves its caller's process alone."""

import gc
import logging
import os
import random
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.utils import get_seed

from amsam_monai.bundles.network import load_model
from amsam_monai.bundles.run import run_training
from amsam_monai.data.datasets import isic_datalist
from amsam_monai.networks.detector.files import load_detector
from amsam_monai.phantoms.sets import write_phantoms
from tests.bundles.runs import BUNDLES, adapter_of, workflow_of

BUNDLE = BUNDLES / "isic_amsam_segmentation"
QUICK = {
    "settings#sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
    "settings#detector": None,
    "precision": "float32",
    "listed": None,
    "shots": 2,
    "val": 1,
    "pool": 2,
    "max_epochs": 2,
    "steps_per_epoch": 2,
    "val_interval": 1,
    "views": 1,
    "mixed_phantoms": 2,
}


@pytest.fixture
def data(folder):
    list(write_phantoms("isic", folder / "data", cases=5, side=48))
    return {**QUICK, "dataset_dir": str(folder / "data")}


def test_it_trains_as_monai_bundle_run_does_however_often(folder, data):
    run_training(BUNDLE, root=folder / "first", overrides={**data, "seed": 3, "max_epochs": 1})
    result = run_training(BUNDLE, root=folder / "ours", overrides=data)
    places = {"bundle_root": str(BUNDLE), "ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
    made = workflow_of(BUNDLE.name, **{name: "$None" if v is None else v for name, v in data.items()}, **places)
    losses = []
    trainer = made.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(float(e.state.output[0]["loss"])))
    made.run()
    assert result.losses == losses
    assert len(losses) == 4
    ours, theirs = adapter_of(folder / "ours"), adapter_of(folder)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert result.weights == folder / "ours" / "models" / "model.pt"
    assert set(result.metrics) >= {"val_dice"}
    assert result.best is not None
    network = weakref.ref(result.network)
    del result
    gc.collect()
    assert network() is None


def process_state():
    loggers = [logging.root, *(each for each in logging.root.manager.loggerDict.values() if hasattr(each, "level"))]
    named = {each.name: (each.level, list(each.handlers), each.propagate, each.disabled) for each in loggers}
    return {
        "logging": {name: settings for name, settings in named.items() if settings != (0, [], True, False)},
        "path": list(sys.path),
        "argv": list(sys.argv),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "python": random.getstate(),
        "numpy": [str(part) for part in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "monai": get_seed(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "running": threading.active_count(),
    }


def rudely(engine):
    """What a component might do to its process."""
    os.environ["AMSAM_RUDE"] = "1"
    os.environ["AMSAM_CACHE"] = "nowhere"
    os.chdir("/")
    sys.argv.append("--rude")
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True)
    logging.getLogger("amsam_monai").setLevel(logging.CRITICAL)
    logging.disable(logging.INFO)


def test_the_callers_process_is_as_it_was_also_after_a_failure(folder, data):
    def fail(engine):
        rudely(engine)
        raise KeyError("amid training")

    quick = {**data, "max_epochs": 1, "steps_per_epoch": 1}
    run_training(BUNDLE, root=folder / "first", overrides=quick)  # what is imported late has its loggers now
    torch.manual_seed(5)
    before = process_state()
    run_training(BUNDLE, root=folder / "second", overrides=quick, handlers=[rudely])
    assert {name: part for name, part in process_state().items() if part != before[name]} == {}
    with pytest.raises(KeyError, match="amid training"):
        run_training(BUNDLE, root=folder / "third", overrides=quick, handlers=[fail])
    assert {name: part for name, part in process_state().items() if part != before[name]} == {}


def test_the_first_cause_is_raised_alone(folder, data, caplog):
    with pytest.raises(FileNotFoundError, match=r"nowhere") as caught:
        run_training(BUNDLE, root=folder, overrides={**data, "dataset_dir": str(folder / "nowhere")})
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "train.yaml of isic_amsam_segmentation failed: FileNotFoundError" in caplog.text


def test_cases_and_a_config_of_ones_own_are_handed_over(folder, data):
    (folder / "mine.yaml").write_text("val: 0\nmax_epochs: 2\n", encoding="utf-8")
    cases = isic_datalist(folder / "data")
    odd = [{**case, "case_id": f"@{case['case_id']}"} for case in cases]  # no reference of MONAI's
    settings = {**data, "dataset_dir": "nowhere"}
    whole = run_training(BUNDLE, root=folder / "whole", overrides=settings, datalist=odd)
    parts = {"train": odd[:2], "val": [], "test": []}
    seen = []
    parted = run_training(
        BUNDLE,
        configs=["train", folder / "mine.yaml"],
        root=folder / "parts",
        overrides={name: value for name, value in settings.items() if name not in ("val", "max_epochs")},
        datalist=parts,
        handlers=[lambda engine: seen.append(engine.state.epoch)],
        progress=lambda epoch, epochs, loss: seen.append((epoch, epochs, loss)),
    )
    assert len(whole.losses) == len(parted.losses) == 4
    assert (parted.metrics, parted.best) == ({}, None)
    assert seen == [(1, 2, parted.losses[1]), 1, (2, 2, parted.losses[3]), 2]
    assert parted.weights.is_file()


def test_misspelt_names_are_refused(folder, data):
    with pytest.raises(ValueError, match=r"got 'max_epoch'; did you mean max_epochs"):
        run_training(BUNDLE, root=folder, overrides={**data, "max_epoch": 1})
    with pytest.raises(ValueError, match=r"got 'image_size'; did you mean settings#sam#image_size\?"):
        run_training(BUNDLE, root=folder, overrides={**data, "image_size": 64})
    with pytest.raises(FileNotFoundError, match=r"must hold tain\.yaml, got .*train"):
        run_training(BUNDLE, configs=["tain"], root=folder)
    with pytest.raises(FileNotFoundError, match="there is no bundle nothing"):
        run_training("nothing")


def test_a_word_changes_the_detector_to_the_one_that_reads_the_embedding(folder, data):
    told = {"settings#detector": {"file": "detector.pth", "architecture": "embedding", "snap_to_dark_object": True}}
    small = {**data, **told, "phantoms": 2, "detector_steps": 1, "max_epochs": 1, "val": 0}
    trained = run_training(BUNDLE, root=folder, overrides=small)
    assert load_detector(folder / "models" / "detector.pth", architecture="embedding").snap_to_dark_object
    assert len(trained.network.detector.cases) == 2
    again = load_model(trained.weights)
    assert again.settings.detector_architecture == "embedding"
    assert again.made["detector_sha256"] == again.network.detector.sha256
    assert again.network.segment(torch.rand(1, 3, 48, 60)).logits.shape == (1, 2, 48, 60)
