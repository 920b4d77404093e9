"""Rows of the papers' tables are their bundle's own training with overrides, and train what they say."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from amsam_monai.bundles.build import build_bundle
from amsam_monai.bundles.run import run_training
from amsam_monai.data.datasets import isic_datalist
from amsam_monai.networks.systems.from_scratch import FromScratch
from amsam_monai.phantoms.sets import write_phantoms

FILE = Path(__file__).parents[1] / "scripts" / "benchmarks" / "row_table.py"
SPEC = importlib.util.spec_from_file_location("benchmark_rows", FILE)
TABLES = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = TABLES  # dataclasses look there
SPEC.loader.exec_module(TABLES)
ROWS = TABLES.read_table("few_shot")["rows"]
QUICK = ("AM-SAM, without phantoms", "SAMed", "U-Net")
NANO = {
    "settings#sam#backbone": "vit_nano",
    "settings#sam#weights": None,
    "settings#sam#image_size": 64,
    "settings#detector": None,
    "settings#arguments#dark_object_weight": 0.0,
    "precision": "float32",
    "max_epochs": 1,
    "steps_per_epoch": 1,
    "batch_size": 2,
    "device": torch.device("cpu"),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    list(write_phantoms("isic", folder / "data", cases=4, side=48))
    return build_bundle("isic_amsam", folder / "isic_amsam_segmentation")


class Moved:
    """Which parameters a training moved."""

    def attach(self, engine):
        engine.add_event_handler(Events.STARTED, self.before)
        engine.add_event_handler(Events.COMPLETED, self.after)

    def before(self, engine):
        self.old = {name: value.detach().clone() for name, value in engine.network.named_parameters()}

    def after(self, engine):
        new = dict(engine.network.named_parameters())
        self.names = {name for name, value in self.old.items() if not torch.equal(value, new[name])}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n, row in ROWS.items() if row.trains],
)
def test_a_row_trains_what_it_says(name, bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    row, moved = ROWS[name], Moved()
    cases = isic_datalist(bundle.parent / "data")
    overrides = {**({} if row.cached else TABLES.UNCACHED), **row.overrides({"views": 2, "mixed_phantoms": 2}), **NANO}
    result = run_training(
        bundle,
        configs=("train", *row.configs),
        datalist={"train": cases, "val": [], "test": []},
        root=tmp_path,
        overrides=overrides,
        handlers=[moved],
    )
    assert any("image_encoder" in part for part in moved.names) == (
        not row.cached and not isinstance(result.network, FromScratch)
    )
    assert isinstance(result.network, FromScratch) or any("output_upscaling" in part for part in moved.names)


def test_a_row_takes_anothers_settings_and_keeps_what_is_its_own():
    rival = ROWS["BLO-SAM"].overrides({"max_epochs": 20, "settings#detector#confidence": 0.1})
    assert rival["settings#arguments#calibration"] == "none"
    assert rival["settings#detector"] is None
    assert "settings#detector#confidence" not in rival
    assert rival["max_epochs"] == 20
    own = ROWS["BLO-SAM, paper's settings"]
    assert "max_epochs" not in own.overrides({"max_epochs": 20, "seed": 1})
    assert [str(config) for config in own.configs] == ["bilevel_train", "paper"]
