"""Rows of the table: how each trains on a task and segments its test cases."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.own.nnunet import NNUNet, ready_environment
from benchmarks.own.process import run_measured
from benchmarks.own.score import expected_of, score_folder
from benchmarks.own.tasks import Task, link_test, link_training

METHODS = ("plain", "amsam", "aisam", "autosam", "unified")
SCRIPTS = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """What every row is told.

    Args:
        task: to train on and to score.
        seed: of the row's random numbers.
        minutes: from the training cases to weights.
        clock: what counts as a minute, see `Clock`.
        threads: of every command.
        work: folder of this row alone.
        shared: folder that rows of the task share.
        environment: folder of nnU-Net's environment.
        results: folder of the runs that are done.
    """

    task: Task
    seed: int
    minutes: float
    clock: str
    threads: int
    work: Path
    shared: Path
    environment: Path
    results: Path

    @property
    def env(self) -> dict[str, str]:
        """Variables of this package's own commands."""
        return {"OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": f"{SCRIPTS}:{SCRIPTS.parent}"}

    @property
    def log(self) -> Path:
        """What the row's commands print."""
        return self.work / "log.txt"


class CommandRow:
    """`amsam train` on a folder of the training cases, and `amsam segment` with its bundle.

    A fixed method is not cross-validated; it takes the steps that the command's own run gave the final training,
    where that run is done, else those that fit the minutes.

    Args:
        method: fixed; None lets the command choose.
    """

    volumes_only = False

    def __init__(self, method: str | None = None) -> None:
        self.method = method

    def __call__(self, run: Run) -> dict[str, Any]:
        """Train, segment, score."""
        from amsam_monai.bundles.load import load_bundle

        amsam, bundle, out = [sys.executable, "-m", "amsam_monai"], run.work / "bundle", fresh(run.work / "predictions")
        data = link_training(run.task, run.work / "train")
        grouped = ["--patients", run.task.patients] if run.task.patients else []
        given = ["--out", str(bundle), "--minutes", f"{run.minutes:g}", "--seed", str(run.seed)]
        given += ["--labels", run.task.table, *grouped, *self.fixed(run)]
        trained = run_measured([*amsam, "train", str(data), *given], log=run.log, env=run.env)
        images = link_test(run.task, run.work / "images")
        segmented = run_measured(
            [*amsam, "segment", str(images), str(out), "--bundle", str(bundle), "--label-values", "index"],
            log=run.log,
            env=run.env,
        )
        return {
            **score_folder(run.task, out, load_bundle(bundle).labels),
            "expected": expected_of(out),
            "train": trained.rounded(),
            "predict": segmented.rounded(),
            "plan": json.loads((bundle / "plan.json").read_text(encoding="utf-8")),
        }

    def fixed(self, run: Run) -> list[str]:
        """Options of a fixed method."""
        if self.method is None:
            return []
        done = run.results / f"{run.task.name}-command-0.json"
        plan = json.loads(done.read_text(encoding="utf-8"))["plan"] if done.is_file() else {}
        steps = plan.get("steps", {}).get("final", {}).get(self.method)
        return ["--method", self.method, "--folds", "0", *(["--steps", str(steps)] if steps else [])]


class UNetRow:
    """A MONAI U-Net.

    Args:
        network: "scratch", or "imagenet" on EfficientNet-Lite0.
    """

    volumes_only = False

    def __init__(self, network: str) -> None:
        self.network = network

    def __call__(self, run: Run) -> dict[str, Any]:
        """Train, predict, score."""
        out, task = fresh(run.work / "predictions"), run.task
        spec = {
            **{"labels": task.labels, "train": task.train, "test": task.test, "network": self.network},
            **{"minutes": run.minutes, "clock": run.clock, "threads": run.threads, "seed": run.seed},
            **{"model": str(run.work / "model.pt"), "facts": str(run.work / "facts.json"), "predictions": str(out)},
        }
        file = run.work / "spec.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.own.unet"]
        trained = run_measured([*command, "train", str(file)], log=run.log, env=run.env)
        predicted = run_measured([*command, "predict", str(file)], log=run.log, env=run.env)
        facts = json.loads((run.work / "facts.json").read_text(encoding="utf-8"))
        spent = {"train": trained.rounded(), "predict": predicted.rounded()}
        return {**score_folder(task, out), **spent, "facts": facts}


class NNUNetRow:
    """nnU-Net v2.

    Args:
        configuration: "2d" or "3d_fullres".
    """

    def __init__(self, configuration: str) -> None:
        self.configuration = configuration
        self.volumes_only = configuration != "2d"

    def __call__(self, run: Run) -> dict[str, Any]:
        """Convert, plan, train, predict, score; the minutes are the training's alone."""
        environment = ready_environment(run.environment)
        net = NNUNet(run.task, run.shared / "nnunet", environment, threads=run.threads, log=run.log)
        net.convert()
        planned = net.plan(self.configuration)
        trained, facts = net.train(self.configuration, minutes=run.minutes, clock=run.clock, seed=run.seed)
        out = fresh(run.work / "predictions")
        predicted = net.predict(self.configuration, out)
        spent = {"train": trained.rounded(), "predict": predicted.rounded()}
        prepared = {"prepare": planned.rounded()} if planned else {}
        return {**score_folder(run.task, out), **prepared, **spent, "facts": facts}


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


ROWS = {
    "command": CommandRow(),
    **{method: CommandRow(method) for method in METHODS},
    "unet": UNetRow("scratch"),
    "unet_imagenet": UNetRow("imagenet"),
    "nnunet_2d": NNUNetRow("2d"),
    "nnunet_3d": NNUNetRow("3d_fullres"),
}
RIVALS = ("unet", "unet_imagenet", "nnunet_2d", "nnunet_3d")
SEEDS: dict[str, Sequence[int]] = {"command": (0, 1, 2)}  # of a row, where the command line gives none; else 0
