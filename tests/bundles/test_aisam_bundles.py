"""AI-SAM's bundles train, resume, evaluate and infer on phantoms, in one process and in two."""

import os

import pytest
import torch
from ignite.engine import Events

from amsam_monai.phantoms.sets import write_phantoms
from tests.bundles.runs import NANO, adapter_of, in_two_processes, workflow_of

SMALL = {**NANO, "settings#arguments#depth": 1, "window": 0}
SHORT = {"max_epochs": 2, "val_interval": 1, "batch_size": 2, "warmup": 1}
SCANS = {"listed": "null", "val": 1, "test": 1, "every": 4}
DRAWS = {"listed": "null", "shots": 2, "val": 1, "pool": 2, "mixed_phantoms": 2}
# Nothing random; the losses that are means over what a whole batch has are left out; and steps along the gradient,
# since AdamW makes whole steps of the rounding of vanishing gradients, which leads the runs apart
SAME = {
    "train#preprocessing#transforms#3#_disabled_": True,
    "prompt_weight": 0.0,
    "quality_weight": 0.0,
    "optimizer#_target_": "torch.optim.SGD",
    "learning_rate": 1e-3,
}
KINDS = {"acdc": (SCANS, "training"), "synapse": (SCANS, "img"), "isic": (DRAWS, "images")}

MANY_CLASSES = pytest.param("synapse", marks=pytest.mark.slow)


def settings(kind, folder):
    """What the command line would say."""
    if not (folder / "data").is_dir():
        list(write_phantoms(kind, folder / "data", cases=4, side=48))
    return {**SMALL, **SHORT, **KINDS[kind][0], "dataset_dir": str(folder / "data"), "output_dir": str(folder / "out")}


def workflow(kind, folder, *args, **overrides):
    return workflow_of(f"{kind}_aisam_segmentation", *args, **{"bundle_root": str(folder), **overrides})


@pytest.mark.parametrize("kind", ["acdc", "isic", MANY_CLASSES])
def test_a_bundle_trains_evaluates_and_infers(kind, folder):
    chosen = settings(kind, folder)
    training = workflow(kind, folder, **chosen)
    before = training.parser.get_parsed_content("network_def").adapter_state_dict()
    before = {name: value.clone() for name, value in before.items()}
    training.run()
    moved = {
        name.split(".")[0] for name, value in adapter_of(folder).items() if not torch.equal(value, before[name].half())
    }
    assert moved == {"sam", "prompter", "classifier"} | ({"class_prompts"} if kind == "synapse" else set())
    workflow(kind, folder, ("train", "evaluate"), **chosen).run()
    assert (folder / "out" / "scores" / "report.html").is_file()
    places = {"dataset_dir": str(folder / "data" / KINDS[kind][1]), "output_dir": str(folder / "predictions")}
    workflow(kind, folder, ("inference",), "infer", **places).run()
    assert len(list((folder / "predictions").rglob("*.*"))) >= 4


def test_a_bundle_trains_on_windows_of_a_tinyvit(folder):
    tiny = {"settings#sam#backbone": "vit_t", "window": 32, "max_epochs": 1, "val": 0}
    chosen = {**settings("acdc", folder), **tiny}
    workflow("acdc", folder, **chosen).run()
    assert all(value.isfinite().all() for value in adapter_of(folder).values())


def test_a_second_training_on_whole_slices_keeps_the_encoder(folder):
    chosen = {**settings("acdc", folder), "max_epochs": 1}
    workflow("acdc", folder, **chosen).run()
    first = adapter_of(folder)
    workflow("acdc", folder, ("train", "whole_train"), **chosen).run()
    second = adapter_of(folder)
    moved = [name for name in first if not torch.equal(first[name], second[name])]
    assert not [name for name in moved if ".image_encoder." in name]
    assert {name.split(".")[0] for name in moved} == {"sam", "prompter", "classifier"}


@pytest.mark.slow
def test_an_interrupted_run_ends_as_one_that_was_not(folder):
    chosen = settings("acdc", folder)
    workflow("acdc", folder, **chosen).run()
    whole = adapter_of(folder)
    assert not (folder / "out" / "train_state.pt").exists()
    broken = workflow("acdc", folder, **chosen)

    @broken.parser.get_parsed_content("train#trainer").on(Events.EPOCH_STARTED(once=2))
    def interrupt(engine):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run()
    assert (folder / "out" / "train_state.pt").is_file()
    workflow("acdc", folder, **chosen).run()
    assert all(torch.equal(whole[name], value) for name, value in adapter_of(folder).items())


def losses_of(made):
    losses = []

    @made.parser.get_parsed_content("train#trainer").on(Events.ITERATION_COMPLETED)
    def keep(engine):
        losses.append(float(engine.state.output[0]["loss"]))

    made.run()
    made.finalize()
    return torch.tensor(losses)


def train_a_rank(folder, kind, chosen):
    made = workflow(kind, folder / "two", ("train", "multi_gpu_train"), **chosen)
    torch.save(losses_of(made), folder / f"rank{os.environ['RANK']}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["acdc", "isic", MANY_CLASSES])
def test_two_processes_have_the_losses_of_one(kind, folder):
    square = {"_target_": "amsam_monai.transforms.sam_input.SquareImaged", "size": "$@checked.image_size"}
    chosen = {**settings(kind, folder), **SAME, "train#preprocessing#transforms#2": square}
    in_two_processes(train_a_rank, folder, kind, chosen)
    assert (folder / "two" / "models" / "model.pt").is_file()
    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    single = losses_of(workflow(kind, folder / "one", **chosen))
    torch.testing.assert_close((ranks[0] + ranks[1]) / 2, single, rtol=0, atol=1e-5)
    assert not torch.equal(ranks[0], ranks[1])
