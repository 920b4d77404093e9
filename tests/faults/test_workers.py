"""Processes that help and die: one that prepares samples, one of several that train, and that of a download."""

import multiprocessing
import os
import re
import signal
import sys

import pytest
import torch
import torch.distributed as dist
from ignite.engine import Events

from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.plain_errors import words_for
from amsam_monai.bundles.run import run_training
from amsam_monai.data.files.claim import claim, release
from amsam_monai.engines.cycling import cycling_loader, epoch_loader
from amsam_monai.engines.processes import join_processes
from amsam_monai.label_app.progress import TrainingProgress
from amsam_monai.label_app.training import CLAIM, TrainOptions, train_bundle
from tests.bundles.runs import _free_port, adapter_of
from tests.faults.children import FORK, answer_of, run
from tests.faults.test_killed import entries
from tests.label_app.test_training import balls
from tests.label_app.trainable_bundle import write_trainable_bundle

pytestmark = [pytest.mark.skipif(FORK is None, reason="needs fork"), pytest.mark.usefixtures("one_thread")]


class DeadlySamples(torch.utils.data.Dataset):
    """Samples of which one kills the process that prepares it, as a system without memory does."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 3 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(2)


@pytest.mark.parametrize("make", [epoch_loader, cycling_loader])
def test_a_loader_whose_worker_dies_says_so(make):
    more = {"batches": 4} if make is epoch_loader else {}
    loader = make(DeadlySamples(), batch_size=2, shuffle=False, num_workers=1, **more)
    with pytest.raises(RuntimeError, match="DataLoader worker") as died:
        for _ in zip(range(4), loader, strict=False):
            pass
    assert re.search(r"DataLoader worker.*memory ran out; set workers: 0, or fewer of them", words_for(died.value))


class KillWorkers:
    """Kills the processes that prepare samples in the second epoch."""

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine):
        if engine.state.epoch == 2:
            for process in multiprocessing.active_children():
                process.kill()


def train(bundle, cases, out, kill):
    run_training(
        bundle,
        datalist={"train": cases, "val": [], "test": []},
        root=out,
        overrides={"max_epochs": 3, "batch_size": 2, "workers": 1},
        handlers=[KillWorkers()] if kill else [],
    )


@pytest.mark.slow
def test_a_training_whose_worker_is_killed_stops_and_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    bundle, cases = write_trainable_bundle(tmp_path, "aisam", classes="{ball: 1}"), entries(tmp_path)
    assert answer_of(train, bundle, cases, tmp_path / "whole", False) is None
    error = answer_of(train, bundle, cases, tmp_path / "out", True)
    assert "DataLoader worker" in str(error), error
    assert (tmp_path / "out" / "eval" / "train_state.pt").is_file()
    assert answer_of(train, bundle, cases, tmp_path / "out", False) is None
    read_model(tmp_path / "out" / "models" / "model.pt")
    wanted, found = adapter_of(tmp_path / "whole"), adapter_of(tmp_path / "out")
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def add_up(rank, port, dies):
    """Sums with the other process, until that one is gone."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    join_processes()
    for step in range(100):
        if rank == dies and step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        dist.all_reduce(torch.ones(4))


def test_processes_that_train_together_do_not_wait_for_one_that_died():
    port = _free_port()
    processes = [FORK.Process(target=add_up, args=(rank, port, 1)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [1, -signal.SIGKILL]


def train_unheard(bundle, cases, progress):
    """Train as a server's child does, with nobody any more who reads what it says."""
    reading, writing = os.pipe()
    os.close(reading)
    sys.stdout = sys.stderr = os.fdopen(writing, "w", buffering=1)
    options = TrainOptions(max_epochs=3, steps_per_epoch=1, val_split=0)
    train_bundle(bundle, cases, options, progress=TrainingProgress(progress))


def test_a_training_whose_server_was_killed_ends_and_says_so(tmp_path):
    bundle, cases, path = write_trainable_bundle(tmp_path, "amsam"), balls(tmp_path, 2), tmp_path / "training.json"
    before = (bundle / "models" / "model.pt").read_bytes()
    assert run(train_unheard, bundle, cases, path) == 1
    told = TrainingProgress(path).read()
    assert told["error"] == "the server that started the training is gone; the weights stay as they were"
    assert (bundle / "models" / "model.pt").read_bytes() == before


def test_two_trainings_of_a_served_bundle_do_not_go_on_at_once(tmp_path):
    """One may be what a server that was killed left."""
    (tmp_path / "models").mkdir()
    lock = claim(tmp_path / "models" / CLAIM, "another training")
    error = answer_of(train_bundle, tmp_path, [])
    assert isinstance(error, OSError)
    assert "models: another training writes there already" in str(error)
    release(lock)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), r"memory must hold what is computed \(none is left\)"),
        (
            RuntimeError("CUDA out of memory. Tried 3 GiB.\nMore"),
            r"\(CUDA out of memory\. Tried 3 GiB\); take a smaller",
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "take a smaller batch"),
        (ValueError("x must be 1, got 2."), r"^x must be 1, got 2\.$"),
    ],
)
def test_a_lack_of_memory_is_told_in_one_sentence(error, said):
    assert re.search(said, words_for(error))


def test_errors_of_ours_are_not_taken_for_a_users():
    assert words_for(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def test_a_lack_of_memory_in_a_real_process_is_told_in_one_sentence(tmp_path):
    """A picture within the limit of pixels, and no room for its voxels."""
    from typer.testing import CliRunner

    from amsam_monai.cli import app
    from tests.data.tiny_sets import mask
    from tests.faults.children import with_little_memory

    for name in ("pred", "label"):
        mask(tmp_path / name / "a.png", 9000, 9000, value=1)

    def evaluate():
        options = ["--labels", "1=a", "--out", str(tmp_path / "out"), "--workers", "1"]
        result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "pred"), str(tmp_path / "label"), *options])
        return result.exit_code, result.output

    code, words = answer_of(with_little_memory, 64 * 2**20, evaluate)
    assert code == 1
    assert "error: " in words
    assert "memory" in words
    assert "Traceback" not in words
