"""Workflows of the repository's bundles, in this process and in two."""

import contextlib
import multiprocessing
import os
import socket
from pathlib import Path

import torch
from monai.bundle import ConfigWorkflow

BUNDLES = Path(__file__).parents[2] / "bundles"
NANO = {"settings#sam": {"backbone": "vit_nano", "weights": None, "image_size": 64}, "precision": "float32"}


def workflow_of(bundle, configs=("train",), workflow_type="train", **overrides):
    """An initialised workflow of a bundle's configs, which has the properties MONAI asks for."""
    workflow = ConfigWorkflow(
        config_file=[str(BUNDLES / bundle / "configs" / f"{name}.yaml") for name in configs],
        meta_file=str(BUNDLES / bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type=workflow_type,
        **overrides,
    )
    workflow.initialize()
    assert workflow.check_properties() in ([], None)
    return workflow


def in_two_processes(run, *args, method="spawn"):
    """Call `run(*args)` as rank 0 and 1 of a group, and wait for both to end well."""
    port = _free_port()
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=_as_rank, args=(rank, port, run, args), daemon=True) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]


def _free_port():
    """A port that nobody uses, below those that systems hand out, so that nobody takes it before the ranks do."""
    for port in range(10_000 + os.getpid() % 20_000, 32_000):
        with socket.socket() as door, contextlib.suppress(OSError):
            door.bind(("localhost", port))
            return port
    raise RuntimeError("no port is free.")


def _as_rank(rank, port, run, args):
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=str(port)
    )
    run(*args)


def adapter_of(folder):
    """The adapter that a training left."""
    return torch.load(folder / "models" / "model.pt", weights_only=True)["model"]
