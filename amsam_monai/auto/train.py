"""From labelled images to a bundle that segments, is corrected and is served: plan, measure, choose, train, report."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amsam_monai.auto.available import available
from amsam_monai.auto.cases import cases_that_train
from amsam_monai.auto.choice import Chosen, cross_validate
from amsam_monai.auto.fold_runner import fold_runner
from amsam_monai.auto.going_on import PLAN, REPORT, WORK, plan_in, refuse_other
from amsam_monai.auto.last_training import settle_last, train_last, usual_limits
from amsam_monai.auto.methods import METHODS, build, check_method, members
from amsam_monai.auto.new_plan import choose_runs, new_plan
from amsam_monai.auto.plan import Plan
from amsam_monai.auto.plan_steps import plan_steps
from amsam_monai.auto.pool import label_next
from amsam_monai.auto.report import Kept, write_training_report
from amsam_monai.auto.trial import quality_of_trials
from amsam_monai.bundles.model_file import amend_model
from amsam_monai.bundles.setting_checks import check_classes
from amsam_monai.data.datasets.own import find_own
from amsam_monai.data.files.atomic import check_writable
from amsam_monai.data.ids import read_ids
from amsam_monai.keys import IMAGE

logger = logging.getLogger(__name__)

FOLDS = 3
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """What `train` leaves.

    Args:
        root: folder of the bundle.
        method: that was trained; "a+b" is the mean of two.
        plan: how.
        chosen: what the cross-validation found; None where the method was told.
        seconds: of it all.
    """

    root: Path
    method: str
    plan: Plan
    chosen: Chosen | None
    seconds: float


def train(
    data: str | Path,
    out: str | Path,
    *,
    labels: Mapping[int, str] | None = None,
    channel: int | None = None,
    patients: str | None = None,
    ids: Sequence[str] | str | Path | None = None,
    method: str | Sequence[str] | None = None,
    minutes: float = 30.0,
    steps: int | None = None,
    runs: int | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    side: int | None = None,
    intensity: Mapping[str, Any] | None = None,
    mirrors: Sequence[str] | None = None,
    neighbours: int | None = None,
    axis: str | None = None,
    encoder: str | None = None,
    suspects: str = "measure",
    sam: Mapping[str, Any] | None = None,
    detector: str | None = None,
    pool: str | Path | None = None,
    say: Say = logger.info,
) -> Trained:
    """Make a bundle from labelled cases of your own.

    The methods are cross-validated by patient, and the best one, or the mean of the best two where that is better, is
    trained on all cases. What was begun in `out` goes on where it stopped: `out`/plan.json says how many steps there
    are, and a seed gives one result.

    Args:
        data: a folder or a list of pairs, see `own_datalist`.
        out: folder of the bundle, new or of a training that was stopped; its name is the bundle's.
        labels: value in the label files -> name of the class.
        channel: which of several an image is.
        patients: which cases are of one patient, see `patients_of`.
        ids: those that train, of cases or patients, or a file of them; all by default.
        method: one of METHODS, the mean of two of them, "plain+amsam", or several to choose among; None chooses among
            all that are here.
        minutes: for everything, on this machine; read where no plan is there yet.
        steps: of the final training, instead of what fits the minutes; trials take a third of it.
        runs: of the final training of `plain`, from different seeds, whose weights are averaged; None takes up to 3
            where the minutes are enough, and one where `steps` are told.
        folds: of the cross-validation; 0 leaves nothing out, and needs a method.
        seed: of everything that is drawn.
        side: of SAM's square.
        intensity: arguments of `Intensity`.
        mirrors: mirror images that are as good: of "horizontal", "vertical".
        neighbours: of a slice that are seen with it, 0 or 1.
        axis: that slices follow: "axial", "coronal", "sagittal" or "thickest".
        encoder: which part of SAM's image encoder `plain` trains: "late" or "full".
        suspects: cases far worse than the others when the folds leave them out: "measure" takes them out of the final
            training where the folds do no worse without them, "keep" trains on them.
        sam: backbone and weights, MobileSAM's by default.
        detector: of AM-SAM: "yolo", or "embedding", which reads SAM's own; None takes yolo where it is here.
        pool: folder of unlabelled images; the report then tells which to label next.
        say: is told what happens, line by line.

    Raises:
        FileNotFoundError: no data, or no weights.
        DatasetError: cases that cannot be used, all of them.
        ValueError: cases of one patient alone, an unknown method, or a plan in `out` that is of other data.
        FileExistsError: `out` holds something else.
        OSError: `out` cannot be written to.
    """
    begun = time.perf_counter()
    out = Path(out).resolve()
    told = [method] if isinstance(method, str) else list(method or ())
    _check(told, folds, minutes, suspects, runs)
    check_writable(out)
    known = plan_in(out)
    listing = find_own(data, labels=labels, channel=channel, patients=patients)
    datalist = cases_that_train(listing, read_ids(ids))
    classes = {name: value for value, name in listing.labels.items()}
    check_classes(classes)
    for note in listing.notes:
        say(f"note: {note}")
    if known is None:
        plan = new_plan(
            datalist,
            classes,
            out.name,
            folds=folds,
            seed=seed,
            minutes=minutes,
            chosen={
                "side": side,
                "intensity": intensity,
                "mirrors": mirrors,
                "neighbours": neighbours,
                "axis": axis,
                "encoder": encoder,
            },
            sam=sam,
            detector=detector,
            detects=not told or any(METHODS[one].detector for name in told for one in members(name)),
        )
    else:
        plan = known
        refuse_other(plan, datalist, classes, seed)
        say(f"going on with {out / PLAN}")
    plan.choices.setdefault("runs", choose_runs(runs, steps))
    out.mkdir(parents=True, exist_ok=True)
    plan.write(out / PLAN)
    for line in plan.lines():
        say(line)
    names = told or (plan["methods"] if "methods" in plan.choices else available(say))
    work = out / WORK
    alone = list(dict.fromkeys(one for name in names for one in members(name)))
    bundles = {name: build(plan, name, work / name / "bundle") for name in alone}
    if not set(alone) <= set(plan.steps.get("early", {})):
        plan_steps(plan, alone, bundles, datalist, steps, say, choosing=not told)
        plan.write(out / PLAN)
    if not told:
        names = plan["methods"]
    run, chosen = fold_runner(plan, bundles, datalist, work, say), None
    if folds:
        longer = {name: plan.steps["final"][name] / count for name, count in plan.steps["trial"].items()}
        chosen = cross_validate(names, plan.rounds, run, lambda name: run(name, 0, part="early"), longer)
    best = chosen.method if chosen else names[0]
    training: Sequence[Mapping[str, Any]] = datalist
    if chosen:
        training = settle_last(plan, chosen, datalist, run, work, say, suspects=suspects)
        plan.write(out / PLAN)
    root = train_last(plan, best, training, out, bundles, work, say)
    quality = quality_of_trials(chosen.trials[best]) if chosen else None
    amend_model(root / "models" / "model.pt", limits=usual_limits(plan, training, root), quality=quality)
    kept = Kept(work / best, plan.labels)
    written = write_training_report(root / REPORT, plan, chosen, kept.pairs(datalist))
    if pool is not None:
        label_next(root, pool, known=[case[IMAGE] for case in datalist], say=say)
    shutil.rmtree(work)
    say(f"wrote {root} and {written[0].parent}")
    return Trained(root, best, plan, chosen, time.perf_counter() - begun)


def _check(told: Sequence[str], folds: int, minutes: float, suspects: str, runs: int | None) -> None:
    for name in told:
        check_method(name)
    if folds == 0 and len(told) != 1:
        raise ValueError("folds must be at least 2 to choose a method, got 0; name a method, or leave cases out.")
    if folds not in range(11) or folds == 1:
        raise ValueError(f"folds must be 0 or from 2 to 10, got {folds}.")
    if suspects not in ("measure", "keep"):
        raise ValueError(f"suspects must be measure or keep, got {suspects!r}.")
    if runs is not None and runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}.")
    if not minutes > 0:
        raise ValueError(f"minutes must be more than 0, got {minutes}.")
