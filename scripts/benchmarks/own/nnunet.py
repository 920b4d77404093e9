"""nnU-Net v2 in an environment of its own: a task in its layout, planned, trained for some minutes, predicted."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from PIL import Image

from amsam_monai.data.datasets.reading import ReadCase
from amsam_monai.data.files.atomic import whole_file
from benchmarks.own.process import Spent, run_measured
from benchmarks.own.tasks import Task

VERSION = "2.8.1"
NUMBER, PLANS, TRAINER = 1, "nnUNetPlans", "ShortTrainer"
TRAINER_FOLDER, SCRIPTS = Path(__file__).parent / "trainer", Path(__file__).parents[2]
AIR = -500  # Hounsfield units that only CT has
CHANNELS = {"picture": ("R", "G", "B"), "ct": ("CT",), "other": ("MRI",)}


def ready_environment(folder: Path) -> Path:
    """The `bin` of nnU-Net's environment, made by uv on the first call, with this environment's torch.

    Raises:
        CommandError: uv is not installed here, or the package index cannot be reached.
    """
    done, log = folder / f"nnunetv2-{VERSION}", folder.with_suffix(".log")
    if not done.is_file():
        uv = [sys.executable, "-m", "uv"]
        run_measured([*uv, "venv", "--clear", "--python", sys.executable, str(folder)], log=log)
        wanted = [f"nnunetv2=={VERSION}", f"torch=={torch.__version__.partition('+')[0]}"]
        run_measured([*uv, "pip", "install", "--python", str(folder / "bin" / "python"), *wanted], log=log)
        done.touch()
    return folder / "bin"


class NNUNet:
    """A task in nnU-Net's three folders.

    Args:
        task: the task.
        root: folder that holds nnU-Net's raw, preprocessed and results.
        environment: `bin` of its environment.
        threads: of every command.
        log: takes what nnU-Net prints.
    """

    def __init__(self, task: Task, root: Path, environment: Path, *, threads: int, log: Path) -> None:
        self.task, self.root, self.environment, self.threads, self.log = task, root, environment, threads, log
        self.dataset = f"Dataset{NUMBER:03d}_task"
        self.raw = root / "raw" / self.dataset

    def convert(self) -> None:
        """Write training and test cases as nnU-Net wants them, labels 1, 2, ... in the task's order."""
        if (self.raw / "dataset.json").is_file():
            return
        kinds, values = set(), {value: index for index, value in enumerate(self.task.labels, start=1)}
        for item in self.task.train:
            kinds.add(write_case(self.task.read(item), str(item["case_id"]), self.raw, values))
        for item in self.task.test:
            write_case(self.task.read(item), str(item["case_id"]), self.raw, None)
        if "picture" in kinds and len(kinds) > 1:
            raise ValueError(f"{self.task.name}: cases must be all pictures or all volumes, got both.")
        content = {
            "channel_names": dict(enumerate(CHANNELS["ct" if "ct" in kinds else kinds.pop()])),
            "labels": {"background": 0, **{self.task.labels[value]: index for value, index in values.items()}},
            "numTraining": len(self.task.train),
            "file_ending": ".png" if (next((self.raw / "imagesTr").iterdir()).suffix == ".png") else ".nii.gz",
        }
        with whole_file(self.raw / "dataset.json") as part:
            part.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def plan(self, configuration: str) -> Spent | None:
        """Plan and preprocess; None where that is done.

        Raises:
            CommandError: nnU-Net failed, or has no such configuration for the task.
        """
        done = self.root / f"planned-{configuration}"
        if done.is_file():
            return None
        arguments = ["-d", str(NUMBER), "-c", configuration, "-np", "1", "-npfp", "1"]
        spent = self._run("nnUNetv2_plan_and_preprocess", *arguments)
        done.touch()
        return spent

    def train(self, configuration: str, *, minutes: float, clock: str, seed: int) -> tuple[Spent, dict[str, Any]]:
        """Train on all cases for some minutes; what it took, and the trainer's own numbers."""
        spent = self._run(
            "nnUNetv2_train",
            *(str(NUMBER), configuration, "all", "-tr", TRAINER, "-device", "cpu"),
            env={
                "BENCH_MINUTES": str(minutes),
                "BENCH_CLOCK": clock,
                "BENCH_SEED": str(seed),
                "nnUNet_n_proc_DA": "0" if self.threads == 1 else "1",
            },
        )
        folder = self.root / "results" / self.dataset / f"{TRAINER}__{PLANS}__{configuration}" / "fold_all"
        return spent, json.loads((folder / "facts.json").read_text(encoding="utf-8"))

    def predict(self, configuration: str, out: Path) -> Spent:
        """Label maps of the test cases, with nnU-Net's own mirror images."""
        return self._run(
            "nnUNetv2_predict",
            *("-i", str(self.raw / "imagesTs"), "-o", str(out), "-d", str(NUMBER), "-c", configuration),
            *("-tr", TRAINER, "-f", "all", "-device", "cpu", "-npp", "1", "-nps", "1"),
        )

    def _run(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> Spent:
        folders = {f"nnUNet_{name}": str(self.root / name) for name in ("raw", "preprocessed", "results")}
        own = {
            **folders,
            "nnUNet_extTrainer": str(TRAINER_FOLDER),
            "nnUNet_n_proc_DA": "1",
            "OMP_NUM_THREADS": str(self.threads),
            "BENCH_THREADS": str(self.threads),
            "PYTHONPATH": str(SCRIPTS),  # of the clock
        }
        return run_measured([str(self.environment / name), *arguments], log=self.log, env={**own, **(env or {})})


def write_case(case: ReadCase, name: str, raw: Path, values: Mapping[int, int] | None) -> str:
    """Write a case into imagesTr and labelsTr, or into imagesTs where `values` is None; picture, ct or other."""
    images, labels = raw / ("imagesTs" if values is None else "imagesTr"), raw / "labelsTr"
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    array, mapped = case.image.array, np.zeros(case.label.array.shape, np.uint8)
    for value, index in (values or {}).items():
        mapped[case.label.array == value] = index
    if case.image.kind == "image":
        scaled = array if array.dtype == np.uint8 else np.clip(array / max(array.max(), 1) * 255, 0, 255)
        Image.fromarray(scaled.astype(np.uint8)).convert("RGB").save(images / f"{name}_0000.png")
        if values is not None:
            Image.fromarray(mapped).save(labels / f"{name}.png")
        return "picture"
    affine = np.eye(4) if case.image.affine is None else case.image.affine
    nib.save(nib.Nifti1Image(_plain(array), affine), images / f"{name}_0000.nii.gz")
    if values is not None:
        nib.save(nib.Nifti1Image(mapped, affine), labels / f"{name}.nii.gz")
    return "ct" if float(array.min()) < AIR else "other"


def _plain(array: np.ndarray) -> np.ndarray:
    """Voxels in a type that NIfTI holds."""
    return array.astype(np.float32) if array.dtype.kind == "f" or array.dtype.itemsize > 4 else array
