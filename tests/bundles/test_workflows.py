"""Every bundle trains, evaluates and infers on phantoms with a nano SAM, and has the properties MONAI asks for."""

from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from amsam_monai.data.phantoms import write_phantoms

ROOT = Path(__file__).parents[2] / "bundles"
BUNDLES = ["isic_amsam_segmentation", "acdc_amsam_segmentation", "synapse_amsam_segmentation"]
NANO = {"backbone": "vit_nano", "image_size": 64, "weights": "$None", "network_def#detector": "$None"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)  # works from any directory

    def run(bundle, configs, workflow_type, **overrides):
        files = [str(ROOT / bundle / "configs" / f"{name}.yaml") for name in configs]
        output = {"bundle_root": str(tmp_path), "output_dir": str(tmp_path / "out")}
        workflow = ConfigWorkflow(
            config_file=files,
            meta_file=str(ROOT / bundle / "configs" / "metadata.json"),
            logging_file=False,
            workflow_type=workflow_type,
            **{**NANO, **output, **overrides},
        )
        workflow.initialize()
        assert workflow.check_properties() in ([], None)
        workflow.run()
        workflow.finalize()

    return run


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_trains_evaluates_and_infers(bundle, run, tmp_path):
    kind = bundle.split("_")[0]
    list(write_phantoms(kind, tmp_path / "data", cases=4, side=48))
    held = "images" if kind == "isic" else "patients"
    training = {
        "dataset_dir": str(tmp_path / "data"),
        "shots": 1,
        f"val_{held}": 1,
        "support_pool": 1,
        "listed_draws": "$None",
        "max_epochs": 1,
        "steps_per_epoch": 1,
        "val_interval": 1,
        "views": 1,
    }
    run(bundle, ["train"], "train", **training)
    assert (tmp_path / "models" / "model.pt").is_file()
    run(bundle, ["train", "evaluate"], "train", **training)
    assert (tmp_path / "out" / "scores" / "report.html").is_file()
    images = tmp_path / "data" / {"isic": "images", "acdc": "training", "synapse": "img"}[kind]
    run(bundle, ["inference"], "infer", dataset_dir=str(images), output_dir=str(tmp_path / "predictions"))
    assert len(list((tmp_path / "predictions").glob("*_seg.*"))) >= 4
