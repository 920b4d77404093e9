"""One training of a method, and what it makes of the cases that were left out."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.auto.averaging import Averaging, Keeping, Segments
from amsam_monai.auto.methods import overrides
from amsam_monai.auto.plan import Plan
from amsam_monai.bundles.load import of_model
from amsam_monai.bundles.network import load_model
from amsam_monai.bundles.plain_errors import told_once
from amsam_monai.bundles.run import run_training
from amsam_monai.data.datasets.load_cased import LoadCased
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import read_image
from amsam_monai.evaluation.scoring.case_scores import score_case
from amsam_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID
from amsam_monai.segment.calibration import Mask, fit_quality
from amsam_monai.segment.doubt import known_masks
from amsam_monai.segment.segmenter import SegmentedImage, Segmenter

DONE, KEPT = "trial.json", "probabilities"  # in a trial's folder
Cases = Sequence[Mapping[str, Any]]
Progress = Callable[[int, int, float], None]


@dataclass
class Trial:
    """What came of a method on a fold.

    Args:
        method: its name.
        fold: number of the fold.
        steps: that were trained.
        seconds: of training and of segmenting.
        dice: strict Dice by case and class; None where neither label nor result has the class.
        masks: what the network told of each mask beside its Dice, see `Mask`.
    """

    method: str
    fold: int
    steps: int
    seconds: float
    dice: dict[str, dict[str, float | None]] = field(default_factory=dict)
    masks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Mean over the classes of the mean over the cases."""
        names = list(dict.fromkeys(name for row in self.dice.values() for name in row))
        means = [
            np.mean(found)
            for name in names
            if (found := [v for row in self.dice.values() if (v := row[name]) is not None])
        ]
        return float(np.mean(means)) if means else 0.0

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        with whole_file(path) as partial:
            Path(partial).write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Trial:
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def train_method(
    bundle: Path,
    method: str,
    cases: Cases,
    *,
    plan: Plan,
    steps: int,
    root: Path,
    detector_steps: int = 0,
    progress: Progress | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Train a method's bundle on cases; a training that was stopped goes on.

    Args:
        bundle: folder of the bundle.
        method: its name.
        cases: of the datalist, all of which train.
        plan: seed and sizes are read.
        steps: of the optimiser.
        root: where models/ and eval/ are written.
        detector_steps: of the detector that is fitted first, where the method has one.
        progress: see `run_training`.
        more: further overrides.

    Returns:
        The model file.
    """
    samples = len(cases) * (plan.fingerprint["depth"] if plan.volumes else 1)
    told = overrides(method, steps, samples, detector_steps) | {"seed": plan.seed} | dict(more or {})
    with quiet():
        result = run_training(
            bundle,
            datalist={"train": list(cases), "val": [], "test": []},
            root=root,
            overrides=told,
            progress=progress,
        )
    return result.weights


def segmenter_of(model: Path) -> Segmenter:
    """A model file's network with its settings."""
    return of_model(model.parent, load_model(model)).segmenter()


def run_trial(
    bundle: Path,
    method: str,
    fold: int,
    train: Cases,
    left_out: Cases,
    *,
    plan: Plan,
    root: Path,
    part: str = "trial",
    progress: Progress | None = None,
    each: Callable[[Mapping[str, Any], SegmentedImage, np.ndarray], None] | None = None,
    keep: bool = False,
) -> Trial:
    """Train on `train`, segment `left_out`, score by strict Dice; a trial that is done already is read.

    Args:
        bundle: folder of the method's bundle.
        method: its name.
        fold: number of the fold.
        train: cases that train.
        left_out: those of the fold.
        plan: the plan.
        root: folder of this trial.
        part: of the plan's steps: "trial" or "early".
        progress: see `run_training`.
        each: called with every left-out case, its result and its label map of class indices.
        keep: keep the probabilities of the left-out cases, for `run_mean_trial`.
    """
    done, kept = root / DONE, root / KEPT
    steps = plan.steps[part][method]
    if done.is_file() and (known := Trial.read(done)).steps == steps and (kept.is_dir() or not keep):
        return known
    begun = time.perf_counter()
    fitted = plan.detector_steps(part, method)
    model = train_method(
        bundle, method, train, plan=plan, steps=steps, root=root, detector_steps=fitted, progress=progress
    )
    segment: Any = Keeping(segmenter_of(model), kept) if keep else segmenter_of(model)
    trial = segment_left_out(segment, left_out, LoadCased(classes=plan.classes), Trial(method, fold, steps, 0.0), each)
    trial.seconds = round(time.perf_counter() - begun, 1)
    trial.write(done)
    return trial


def run_mean_trial(
    parts: Sequence[Trial],
    roots: Sequence[Path],
    left_out: Cases,
    *,
    method: str,
    plan: Plan,
    root: Path,
    each: Callable[[Mapping[str, Any], SegmentedImage, np.ndarray], None] | None = None,
) -> Trial:
    """Score the mean of methods on a fold; a trial that is done already is read.

    Args:
        parts: the trials of each on that fold.
        roots: their folders, with the probabilities that they kept.
        left_out: the cases of the fold.
        method: name of the mean.
        plan: the plan.
        root: folder of this trial.
        each: see `run_trial`.
    """
    done, steps = root / DONE, sum(part.steps for part in parts)
    if done.is_file() and (known := Trial.read(done)).steps == steps:
        return known
    begun = time.perf_counter()
    segment, load = Averaging([one / KEPT for one in roots], plan), LoadCased(classes=plan.classes)
    trial = segment_left_out(segment, left_out, load, Trial(method, parts[0].fold, steps, 0.0), each)
    trial.seconds = round(time.perf_counter() - begun, 1)
    root.mkdir(parents=True, exist_ok=True)
    trial.write(done)
    return trial


def segment_left_out(
    segment: Segments,
    cases: Cases,
    load: Callable[[Any], Any],
    trial: Trial,
    each: Callable[[Mapping[str, Any], SegmentedImage, np.ndarray], None] | None = None,
) -> Trial:
    """Segment cases, and put their Dice and what the network told of its masks into a trial.

    Args:
        segment: with the trained network.
        cases: of a datalist.
        load: reads a case, its label as class indices.
        trial: is added to.
        each: see `run_trial`.
    """
    for case in cases:
        label = np.asarray(load(case)[LABEL])[0]
        result = segment(read_image(case[IMAGE]), quality=True)
        trial.masks += [asdict(mask) for mask in known_masks(result, label, str(case[PATIENT_ID]))]
        found = score_case(result.label, label, segment.labels, case=case[CASE_ID], metrics=("dice",), workers=1)
        trial.dice[str(case[CASE_ID])] = {
            score.label: None if np.isnan(score.values["dice"]) else round(score.values["dice"], 5) for score in found
        }
        if each is not None:
            each(case, result, label)
    return trial


def quality_of_trials(trials: Sequence[Trial]) -> dict[str, Any] | None:
    """How good a mask is to be expected, calibrated on the cases that were left out; None where they tell nothing."""
    masks = [Mask(**mask) for trial in trials for mask in trial.masks]
    return fit_quality(masks) if masks else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the trainers' own lines and tracebacks out of the command's; warnings stay, but for that of no log file."""
    before, noisy = logging.root.manager.disable, logging.getLogger("monai.bundle.workflows")
    level = noisy.level
    logging.disable(logging.INFO)
    noisy.setLevel(logging.ERROR)
    try:
        with told_once():
            yield
    finally:
        logging.disable(before)
        noisy.setLevel(level)
