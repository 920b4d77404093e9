"""A training's numbers are looked at before it computes anything."""

import pytest

from amsam_monai.bundles.knobs import check_knobs
from amsam_monai.bundles.run import run_training
from tests.bundles.runs import BUNDLES

FINE = {"max_epochs": 3, "batch_size": 1, "val_interval": 5, "learning_rate": 0.1, "seed": 0, "device": "cpu"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_epochs", 1e308, r"max_epochs must be a whole number from 1 to 100000, got 1e\+308"),
        ("max_epochs", float("inf"), "max_epochs must be a whole number .*, got inf"),
        ("max_epochs", "many", "max_epochs must be a whole number .*, got 'many'"),
        ("max_epochs", 2.5, "max_epochs must be a whole number .*, got 2.5"),
        ("batch_size", 0, "batch_size must be a whole number from 1 .*, got 0"),
        ("val_interval", True, "val_interval must be a whole number .*, got True"),
        ("seed", -1, "seed must be a whole number from 0 .*, got -1"),
        ("learning_rate", "fast", "learning_rate must be a number, at least 0, got 'fast'"),
        ("learning_rate", float("nan"), "learning_rate must be a number, at least 0, got nan"),
        ("device", "nonsense", "device must be one that is here, got 'nonsense'"),
    ],
)
def test_what_no_training_can_take_is_refused_by_name(name, value, message):
    with pytest.raises(ValueError, match=message):
        check_knobs(**{**FINE, name: value})


def test_what_a_training_takes_passes():
    check_knobs(**FINE)
    check_knobs(**{**FINE, "learning_rate": 0.0, "max_epochs": 100_000})


def test_the_environment_moves_the_limit_of_epochs(monkeypatch):
    monkeypatch.setenv("AMSAM_MAX_EPOCHS", "200000")
    check_knobs(**{**FINE, "max_epochs": 200_000})
    with pytest.raises(ValueError, match="from 1 to 200000, got 200001"):
        check_knobs(**{**FINE, "max_epochs": 200_001})
    monkeypatch.setenv("AMSAM_MAX_EPOCHS", "0")
    with pytest.raises(ValueError, match="AMSAM_MAX_EPOCHS must be a whole number above 0, got '0'"):
        check_knobs(**FINE)


@pytest.mark.parametrize("configs", [("train",), ("train", "bilevel_train", "multi_gpu_train")])
def test_a_bundle_looks_first(configs, folder, monkeypatch):
    """With several processes, too: before they join, which they would do without an address to join at."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match=r"max_epochs must be a whole number"):
        run_training(BUNDLES / "acdc_amsam_segmentation", configs=configs, root=folder, overrides={"max_epochs": 1e308})
