"""AutoSAM's bundles train, resume, evaluate and infer on phantoms with a nano SAM, in one process and in two."""

import os
import subprocess
import sys

import pytest
import torch
from ignite.engine import Events

from amsam_monai.phantoms.sets import write_phantoms
from tests.bundles.runs import BUNDLES as ROOT
from tests.bundles.runs import NANO, adapter_of, workflow_of

SMALL = {**NANO, "settings#arguments#backbone_weights": None}
SHORT = {"max_epochs": 2, "val_interval": 1, "views": 2, "batch_size": 2}
PICTURES = {"preset": "plain", "listed": "null", "val": 1, "test": 1}
SCANS = {"listed": "null", "val": 1, "test": 1, "every": 4}
DRAWS = {"listed": "null", "shots": 2, "val": 1, "pool": 2, "mixed_phantoms": 2}
# bundle -> (kind of phantom, settings, folder of images for inference)
BUNDLES = {
    "glas_autosam_segmentation": ("isic", PICTURES, "images"),
    "monuseg_autosam_segmentation": ("isic", PICTURES, "images"),
    "polyp_autosam_segmentation": ("isic", PICTURES, "images"),
    "isic_autosam_segmentation": ("isic", DRAWS, "images"),
    "acdc_autosam_segmentation": ("acdc", SCANS, "training"),
    "synapse_autosam_segmentation": ("synapse", SCANS, "img"),
}
KINDS = ("glas_autosam_segmentation", "polyp_autosam_segmentation", "acdc_autosam_segmentation")  # one of each kind
WITH_LORA = ("polyp_autosam_segmentation", "acdc_autosam_segmentation")


def settings(folder, bundle):
    """What the command line would say."""
    kind, own, _ = BUNDLES[bundle]
    if not (folder / "data").is_dir():
        list(write_phantoms(kind, folder / "data", cases=4, side=48))
    places = {"bundle_root": str(folder), "dataset_dir": str(folder / "data"), "output_dir": str(folder / "out")}
    return {**SMALL, **SHORT, **own, **places}


@pytest.mark.parametrize(
    "bundle", [pytest.param(name, marks=[] if name in KINDS else [pytest.mark.slow]) for name in BUNDLES]
)
def test_a_bundle_trains_both_forms_evaluates_and_infers(bundle, folder):
    chosen = settings(folder, bundle)
    workflow_of(bundle, **chosen).run()
    first = adapter_of(folder)
    lora = {name for name in first if name.startswith("sam.")}
    assert {name.split(".")[0] for name in first.keys() - lora} == {"generator", "surrogate"}
    assert all(".lora_" in name for name in lora)
    assert bool(lora) == (bundle in WITH_LORA)
    workflow_of(bundle, **chosen, **{"settings#arguments#light": True}).run()
    second = adapter_of(folder)
    moved = {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"surrogate"}
    workflow_of(bundle, ("train", "evaluate"), **chosen).run()
    assert (folder / "out" / "scores" / "report.html").is_file()
    images = folder / "data" / BUNDLES[bundle][2]
    places = {"bundle_root": str(folder), "dataset_dir": str(images), "output_dir": str(folder / "predictions")}
    workflow_of(bundle, ("inference",), "infer", **places).run()
    assert len(list((folder / "predictions").rglob("*.*"))) >= 4


def test_an_interrupted_run_ends_as_one_that_was_not(folder):
    chosen = settings(folder, "glas_autosam_segmentation")
    workflow_of("glas_autosam_segmentation", **chosen).run()
    whole = adapter_of(folder)
    assert not (folder / "out" / "train_state.pt").exists()

    broken = workflow_of("glas_autosam_segmentation", **chosen, ckpt_dir=str(folder / "again"))
    trainer = broken.parser.get_parsed_content("train#trainer")

    @trainer.on(Events.EPOCH_STARTED(once=2))
    def interrupt(engine):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run()
    assert (folder / "out" / "train_state.pt").is_file()
    workflow_of("glas_autosam_segmentation", **chosen, ckpt_dir=str(folder / "again")).run()
    resumed = torch.load(folder / "again" / "model.pt", weights_only=True)["model"]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_ends_when_validation_gets_no_better(folder):
    chosen = {**settings(folder, "glas_autosam_segmentation"), "learning_rate": 0.0, "max_epochs": 9, "patience": 2}
    training = workflow_of("glas_autosam_segmentation", **chosen)
    training.run()
    assert training.parser.get_parsed_content("train#trainer").state.epoch == 3


@pytest.mark.slow
@pytest.mark.parametrize(  # their samplers differ
    "bundle", ["glas_autosam_segmentation", pytest.param("isic_autosam_segmentation", marks=pytest.mark.slow)]
)
def test_two_processes_train_one_network(folder, bundle):
    chosen = settings(folder, bundle)
    configs = [str(ROOT / bundle / "configs" / f"{n}.yaml") for n in ("train", "multi_gpu_train")]
    parts = {f"settings#sam#{name}": value for name, value in NANO["settings#sam"].items()}
    said = {name: "null" if value is None else value for name, value in {**chosen, **parts}.items()}
    options = [word for name, value in said.items() if name != "settings#sam" for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "monai.bundle", "run", "--config_file", str(configs), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    alone = folder / "alone"
    workflow_of(bundle, **chosen, ckpt_dir=str(alone)).run()
    shared, one = adapter_of(folder), torch.load(alone / "model.pt", weights_only=True)["model"]
    assert shared.keys() == one.keys()
    moved = [
        name for name in shared if name.startswith("generator.decoder") and not torch.equal(shared[name], one[name])
    ]
    assert moved  # a batch of twice the size is another training
