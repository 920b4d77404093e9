"""Runs methods on folds, each once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from amsam_monai.auto.folds import parted
from amsam_monai.auto.methods import members
from amsam_monai.auto.plan import Plan
from amsam_monai.auto.report import Kept
from amsam_monai.auto.trial import Trial, run_mean_trial, run_trial
from amsam_monai.keys import CASE_ID


def fold_runner(
    plan: Plan,
    bundles: Mapping[str, Path],
    datalist: Sequence[Mapping[str, Any]],
    work: Path,
    say: Callable[[str], None],
) -> Callable[..., Trial]:
    """Runs a method on a fold, without some cases if told, or the mean of two, or reads what came of it."""

    @cache
    def run(method: str, fold: int, without: tuple[str, ...] = (), part: str = "trial") -> Trial:
        train_cases, left_out = parted(datalist, plan.folds[fold])
        root, each, parts = work / method / f"fold{fold}", Kept(work / method, plan.labels), members(method)
        if part == "early":
            root, each = root / part, Kept(root / part, plan.labels)
        if without:
            train_cases = [case for case in train_cases if case[CASE_ID] not in without]
            root, each = root / "without", Kept(root / "without", plan.labels)
        if len(parts) > 1:
            trials = [run(one, fold) for one in parts]
            roots = [work / one / f"fold{fold}" for one in parts]
            trial = run_mean_trial(trials, roots, left_out, method=method, plan=plan, root=root, each=each)
        else:
            trial = run_trial(
                bundles[method],
                method,
                fold,
                train_cases,
                left_out,
                plan=plan,
                root=root,
                part=part,
                each=each,
                keep=len(bundles) > 1 and part == "trial",  # a mean may be scored
            )
            for folder in ("models", "eval"):
                shutil.rmtree(root / folder, ignore_errors=True)
        which = f"{method}, fold {fold + 1}" + (f", without {', '.join(without)}" if without else "")
        say(f"{which}: Dice {trial.score:.3f} after {trial.steps} steps, {trial.seconds:.0f} s")
        return trial

    return run
