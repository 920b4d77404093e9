"""The training that is kept: of the method that was chosen, or of two for their mean, on all cases that help."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.auto.budget import REPORT, last_steps, part_of
from amsam_monai.auto.cases import ids_of
from amsam_monai.auto.choice import Chosen
from amsam_monai.auto.folds import parted
from amsam_monai.auto.methods import build, build_mean, members
from amsam_monai.auto.plan import Plan
from amsam_monai.auto.suspects import leave_out, weed
from amsam_monai.auto.trial import DONE, Trial, train_method
from amsam_monai.bundles.members import join_models
from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.stages import mean_model
from amsam_monai.data.datasets.load_cased import LoadCased
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import read_image
from amsam_monai.keys import IMAGE, LABEL
from amsam_monai.segment.limits import measure_limits

APART = 1009  # between the seeds of trainings whose weights are averaged


def settle_last(
    plan: Plan,
    chosen: Chosen,
    datalist: Sequence[Mapping[str, Any]],
    run: Callable[..., Trial],
    work: Path,
    say: Callable[[str], None],
    *,
    suspects: str,
) -> Sequence[Mapping[str, Any]]:
    """The cases of the last training; the plan is told its steps, with what the trials left of the time.

    Args:
        plan: with steps.
        chosen: what the cross-validation found.
        datalist: all cases.
        run: runs a method on a fold, see `fold_runner`.
        work: folder of the trials.
        say: is told what happens, line by line.
        suspects: "measure" leaves out cases without which the folds do no worse, "keep" leaves out none.
    """
    parts, training = members(chosen.method), datalist
    measured = [one for one in parts if one in chosen.trials]
    if suspects == "measure" and measured:
        judge = max(measured, key=chosen.score)
        in_training = {n: ids_of(parted(datalist, fold)[0]) for n, fold in enumerate(plan.folds)}
        weeded = weed(chosen.trials[judge], in_training, lambda fold, out: run(judge, fold, tuple(out)))
        training = leave_out(plan, datalist, weeded, say)
    if plan.seconds and "last" not in plan.steps:
        left = 60 * plan.minutes * (1 - REPORT) - plan.timing - sum(one.seconds for one in trials_in(work))
        pace = {one: pace_of(trials_in(work / one)) for one in parts}
        plan.steps["last"] = last_steps(parts, plan, left, pace)
    return training


def trials_in(folder: Path) -> list[Trial]:
    """All that were run in a folder."""
    return [Trial.read(file) for file in sorted(folder.rglob(DONE))]


def pace_of(trials: Sequence[Trial]) -> float:
    """Seconds of a step, with all that the trials did beside."""
    return sum(one.seconds for one in trials) / max(1, sum(one.steps for one in trials))


def train_last(
    plan: Plan,
    method: str,
    datalist: Sequence[Mapping[str, Any]],
    out: Path,
    bundles: Mapping[str, Path],
    work: Path,
    say: Callable[[str], None],
) -> Path:
    """The bundle of a method, or of the mean of two, trained on all cases.

    Args:
        plan: with steps.
        method: one, or "a+b" for the mean of two.
        datalist: cases that train.
        out: folder of the bundle.
        bundles: of each method, from which members of a mean are trained.
        work: folder of what is finished, so that a stopped training goes on.
        say: is told what happens, line by line.
    """
    parts = members(method)
    part = part_of(parts)
    if len(parts) == 1:
        root = build(plan, method, out)
        _train_on_all(plan, method, part, datalist, root, root, work, say)
        return root
    root, own = build_mean(plan, parts, out), {one: work / one / part for one in parts}
    files = [_train_on_all(plan, one, part, datalist, bundles[one], own[one], work, say) for one in parts]
    join_models(files, root / "models" / "model.pt")
    return root


def _train_on_all(
    plan: Plan,
    method: str,
    part: str,
    datalist: Sequence[Mapping[str, Any]],
    bundle: Path,
    root: Path,
    work: Path,
    say: Callable[[str], None],
) -> Path:
    """The model of a method trained on all cases for the steps of a part of the plan; one that is there is taken."""
    model, finished = root / "models" / "model.pt", work / f"{method}, {part}"
    if finished.is_file():
        return model
    planned = "last" if method in plan.steps.get("last", {}) else part
    steps, runs = plan.steps[planned][method], plan.runs(planned, method)
    done = [work / f"{method}, {part}, run {number}.pt" for number in range(runs)]
    for number, file in enumerate(done):
        if file.is_file():
            continue
        which = f", run {number + 1} of {runs}" if runs > 1 else ""
        say(f"{method}: training on {len(datalist)} cases, {steps} steps{which}")
        trained = train_method(
            bundle,
            method,
            datalist,
            plan=plan,
            steps=steps,
            root=file.with_suffix("") if number else root,
            detector_steps=plan.detector_steps(part, method),
            progress=_clock(say, method + which),
            more={"seed": plan.seed + APART * number},
        )
        if runs > 1:
            with whole_file(file) as partial:
                shutil.copyfile(trained, partial)
    if runs > 1:
        mean_model(done, model)
    finished.touch()
    return model


def usual_limits(plan: Plan, datalist: Sequence[Mapping[str, Any]], root: Path) -> dict[str, Any]:
    """What is usual, measured on all labelled cases as the model sees them."""
    settings = read_model(root / "models" / "model.pt").settings
    load: Callable[[Any], Any] = LoadCased(classes=plan.classes)
    cases = ((read_image(case[IMAGE]), np.asarray(load(case)[LABEL])[0]) for case in datalist)
    return measure_limits(cases, settings.labels, intensity=settings.intensity, slices=settings.slices)


def _clock(say: Callable[[str], None], name: str) -> Callable[[int, int, float], None]:
    """Tells the time that is left, each epoch."""
    begun = time.perf_counter()

    def tell(epoch: int, epochs: int, loss: float) -> None:
        left = (time.perf_counter() - begun) / epoch * (epochs - epoch)
        say(f"{name}: {epoch / epochs:.0%}, loss {loss:.3f}, {left / 60:.1f} minutes left")

    return tell
