"""AM-SAM's bundles train, evaluate and infer on phantoms with a nano SAM, and have the properties MONAI asks for."""

import math
import multiprocessing
import os
import re
import signal

import pytest
import torch
from ignite.engine import Events

from amsam_monai.bundles.model_file import read_model
from amsam_monai.engines import SimulatedObjects
from amsam_monai.phantoms.sets import write_phantoms
from tests.bundles.runs import NANO, adapter_of, in_two_processes, workflow_of

KINDS = ("isic", "human", "acdc", "synapse")
UNDETECTED = {**NANO, "settings#detector": None}
BOXES = {"train#trainer#prepare_batch#boxes#_disabled_": False}  # simulated ones, as with a detector


def workflow(kind, configs, workflow_type, folder, **overrides):
    places = {"bundle_root": str(folder), "output_dir": str(folder / "out")}
    return workflow_of(
        f"{kind}_amsam_segmentation",
        configs,
        workflow_type,
        **{**(UNDETECTED if workflow_type == "train" else {}), **places, **overrides},
    )


def run(*args, **overrides):
    made = workflow(*args, **overrides)
    made.run()
    made.finalize()


def phantoms(kind, folder, cases=4):
    """A small data set in the layout of `kind`, and the settings that train on it for an instant."""
    list(write_phantoms("isic" if kind == "human" else kind, folder / "data", cases=cases, side=48))
    if kind == "human":  # one picture and one mask of the same name
        for mask in (folder / "data" / "labels").iterdir():
            mask.rename(mask.with_name(mask.name.replace("_segmentation", "")))
        for index, image in enumerate(sorted((folder / "data" / "images").iterdir()), 1):
            mask = folder / "data" / "labels" / f"{image.stem}.png"
            mask.rename(mask.with_name(f"{index}.png"))
            image.rename(image.with_name(f"{index}.jpg"))
    return {
        "dataset_dir": str(folder / "data"),
        "shots": 1,
        "val": 1,
        "pool": 1,
        "listed": "null",
        "max_epochs": 1,
        "steps_per_epoch": 1,
        "val_interval": 1,
        "views": 1,
        **({"mixed_phantoms": 2} if kind == "isic" else {}),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_trains_evaluates_and_infers(kind, folder):
    training = {**phantoms(kind, folder), **BOXES}
    run(kind, ["train"], "train", folder, **training)
    assert (folder / "models" / "model.pt").is_file()
    run(kind, ["train", "evaluate"], "train", folder, **training)
    assert (folder / "out" / "scores" / "report.html").is_file()
    images = folder / "data" / {"acdc": "training", "synapse": "img"}.get(kind, "images")
    run(kind, ["inference"], "infer", folder, dataset_dir=str(images), output_dir=str(folder / "predictions"))
    assert len(list((folder / "predictions").rglob("*.*"))) >= 4


def test_the_objects_of_a_class_train_one_by_one(folder):
    all_of_them = {
        "settings#arguments#objects": {"person": "all"},
        "train#trainer#prepare_batch#objects#_disabled_": False,
    }
    made = workflow("human", ["train"], "train", folder, **{**phantoms("human", folder), **all_of_them})
    assert isinstance(made.parser.get_parsed_content("train#trainer").prepare_batch.objects, SimulatedObjects)
    made.run()
    made.finalize()
    assert read_model(folder / "models" / "model.pt").settings.objects == ["all"]


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("isic", "first"),
        pytest.param("isic", "finite_difference", marks=pytest.mark.slow),
        pytest.param("acdc", "second", marks=pytest.mark.slow),
    ],
)
def test_a_bundle_trains_on_two_levels(kind, order, folder):
    training = {**phantoms(kind, folder), "shots": 2, "order": order}
    made = workflow(kind, ["train", "bilevel_train"], "train", folder, **training)
    network = made.parser.get_parsed_content("network")
    before = {name: value.clone() for name, value in network.adapter_state_dict().items()}
    made.run()
    made.finalize()
    trainer = made.parser.get_parsed_content("train#trainer")
    assert trainer.order == order
    assert math.isfinite(trainer.state.output[0]["upper_loss"])
    moved = {name for name, value in network.adapter_state_dict().items() if not torch.equal(value, before[name])}
    assert {"prompt_embedding", "sam.mask_decoder.output_upscaling.0.weight"} <= moved


@pytest.mark.parametrize("kind", KINDS)
def test_the_papers_settings_run(kind, folder):
    training = {**phantoms(kind, folder), "shots": 2}
    training = {name: value for name, value in training.items() if name not in ("steps_per_epoch", "views")}
    run(kind, ["train", "bilevel_train", "paper"], "train", folder, **training)


def test_the_encoder_trains_too(folder):
    training = {**phantoms("isic", folder), "settings#sam#image_size": 64, "warmup": 1}
    made = workflow("isic", ["train", "encoder_train"], "train", folder, **training)
    network = made.parser.get_parsed_content("network")
    before = {name: value.clone() for name, value in network.adapter_state_dict().items()}
    made.run()
    made.finalize()
    moved = {name for name, value in network.adapter_state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("sam.image_encoder.") for name in moved)
    assert any(name.startswith("sam.mask_decoder.transformer.") for name in moved)
    run("isic", ["train", "encoder_train", "evaluate"], "train", folder, **training)
    assert (folder / "out" / "scores" / "report.html").is_file()


@pytest.mark.parametrize(("kind", "configs"), [("isic", ["train", "bilevel_train"]), ("acdc", ["train"])])
def test_without_a_detector_in_the_settings_none_is_fitted_and_the_prompt_is_learned(kind, configs, folder):
    training = {**phantoms(kind, folder), "shots": 2, "settings#detector": "null"}
    made = workflow(kind, configs, "train", folder, **training)
    before = made.parser.get_parsed_content("network").prompt_embedding.detach().clone()
    made.run()
    made.finalize()
    network = made.parser.get_parsed_content("network")
    assert network.detector is made.parser.get_parsed_content("train#trainer").prepare_batch.boxes is None
    assert not torch.equal(network.prompt_embedding, before)
    assert [file.name for file in (folder / "models").iterdir()] == ["model.pt"]
    assert read_model(folder / "models" / "model.pt").settings.detector is None


def losses_of(made):
    losses = []
    trainer = made.parser.get_parsed_content("train#trainer")

    @trainer.on(Events.ITERATION_COMPLETED)
    def keep(engine):
        output = engine.state.output[0]
        losses.append([float(output["loss"]), float(output.get("upper_loss", 0.0))])

    made.run()
    made.finalize()
    return losses


def train_a_rank(folder, kind, configs, training):
    made = workflow(kind, [*configs, "multi_gpu_train"], "train", folder / "two", **training)
    torch.save(losses_of(made), folder / f"rank{os.environ['RANK']}.pt")


MORE = [("isic", ["train", "bilevel_train"]), ("human", ["train"]), ("acdc", ["train"])]
MORE += [("synapse", ["train", "bilevel_train"])]


@pytest.mark.parametrize(
    ("kind", "configs"), [("isic", ["train"]), *(pytest.param(*more, marks=pytest.mark.slow) for more in MORE)]
)
def test_two_processes_have_the_losses_of_one(kind, configs, folder):
    training = {**phantoms(kind, folder, cases=8), "shots": 4, "batch_size": 2, "steps_per_epoch": 3, "max_epochs": 2}
    training |= {"train#trainer#prepare_batch#boxes": "$None", "pool": 4}  # nothing random
    in_two_processes(train_a_rank, folder, kind, configs, training, method="fork")
    assert (folder / "two" / "models" / "model.pt").is_file()

    single = losses_of(workflow(kind, configs, "train", folder / "one", **training))
    ranks = [torch.tensor(torch.load(folder / f"rank{rank}.pt", weights_only=True)) for rank in (0, 1)]
    torch.testing.assert_close((ranks[0] + ranks[1]) / 2, torch.tensor(single), rtol=0, atol=1e-4)
    assert not torch.equal(ranks[0], ranks[1])


def _killed(folder, configs, training):
    torch.set_num_threads(1)
    made = workflow("isic", configs, "train", folder, **training)
    trainer = made.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.ITERATION_STARTED(once=4), lambda: os.kill(os.getpid(), signal.SIGKILL))
    made.run()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("configs", [["train"], pytest.param(["train", "bilevel_train"], marks=pytest.mark.slow)])
def test_a_killed_training_ends_as_one_that_was_not(configs, folder):
    training = {**phantoms("isic", folder, cases=6), **BOXES, "shots": 2, "max_epochs": 3, "steps_per_epoch": 2}
    training["views"] = 2
    run("isic", configs, "train", folder / "whole", **training)

    process = multiprocessing.get_context("fork").Process(target=_killed, args=(folder / "killed", configs, training))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (folder / "killed" / "out" / "train_state.pt").is_file()
    made = workflow("isic", configs, "train", folder / "killed", **training)
    made.run()
    assert made.parser.get_parsed_content("train#trainer").state.iteration == 6
    made.finalize()
    assert not (folder / "killed" / "out" / "train_state.pt").exists()

    whole, killed = (adapter_of(folder / name) for name in ("whole", "killed"))
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


OTHERS = {
    "val": (0, r"val was \['.+'\], is \[\]"),
    "settings#arguments#alpha": (0.5, "model.arguments.alpha was 0.7, is 0.5"),
}
FURTHER = {
    "precision": ("bfloat16", "precision was float32, is bfloat16"),
    "optimizer#weight_decay": (0.2, "optimizer.weight_decay was 0.1, is 0.2"),
    "upper_optimizer#weight_decay": (0.2, "upper_optimizer.weight_decay was 0.1, is 0.2"),
    "loss#loss#dice_weight": (0.5, "loss.loss.dice_weight was 0.8, is 0.5"),
    "max_epochs": (3, "training.max_epochs was 1, is 3"),
}


@pytest.mark.parametrize("others", [OTHERS, pytest.param(FURTHER, marks=pytest.mark.slow)], ids=["few", "further"])
def test_an_interrupted_training_does_not_go_on_with_other_settings(folder, others):
    training = {**phantoms("isic", folder), "train#handlers#3#keep": True, "shots": 2}
    levels = ["train", "bilevel_train"]
    run("isic", levels, "train", folder, **training)
    for name, (value, message) in others.items():
        with pytest.raises(RuntimeError) as caught:
            run("isic", levels, "train", folder, **{**training, name: value})
        assert re.search(rf"train_state.pt comes from .* other settings: {message}\. Remove", everything(caught.value))


def everything(error):
    """The words of an error and of those that it came from."""
    return f"{error} {everything(error.__cause__)}" if error else ""


def test_training_in_bfloat16_gives_finite_weights_near_those_of_float32(folder):
    training = {**phantoms("isic", folder), "steps_per_epoch": 2}
    adapters = []
    for precision in ("float32", "bfloat16"):
        run("isic", ["train"], "train", folder / precision, **training, precision=precision)
        adapters.append(adapter_of(folder / precision))
    assert all(value.isfinite().all() for value in adapters[1].values())
    assert all((value - adapters[0][name]).abs().max() < 0.01 for name, value in adapters[1].items())
    assert any(not torch.equal(value, adapters[0][name]) for name, value in adapters[1].items())
