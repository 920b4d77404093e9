"""From labelled images to a bundle that segments, is corrected and is served: plan, measure, choose, train, report."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.auto.budget import KEPT, Cost, as_told, last_steps, measure, no_room_beside, that_fit, with_early
from amsam_monai.auto.cases import cases_that_train
from amsam_monai.auto.choice import Chosen, cross_validate, spared_runs
from amsam_monai.auto.detectors import choose_detector
from amsam_monai.auto.fingerprint import fingerprint
from amsam_monai.auto.folds import draw_folds, parted
from amsam_monai.auto.methods import METHODS, build, build_mean, check_method, members
from amsam_monai.auto.plan import Choice, Plan, choose, said
from amsam_monai.auto.pool import label_next
from amsam_monai.auto.report import Kept, write_training_report
from amsam_monai.auto.suspects import leave_out, weed
from amsam_monai.auto.trial import Trial, quality_of_trials, run_mean_trial, run_trial, train_method
from amsam_monai.bundles.members import join_models
from amsam_monai.bundles.model_file import amend_model, read_model
from amsam_monai.bundles.setting_checks import check_classes
from amsam_monai.bundles.stages import mean_model
from amsam_monai.data.datasets.load_cased import LoadCased
from amsam_monai.data.datasets.own import find_own
from amsam_monai.data.files.atomic import check_writable, taken, whole_file
from amsam_monai.data.files.images import read_image
from amsam_monai.data.ids import read_ids
from amsam_monai.keys import CASE_ID, IMAGE, LABEL
from amsam_monai.segment.limits import measure_limits

logger = logging.getLogger(__name__)

RUNS = max(method.runs for method in METHODS.values())
APART = 1009  # between the seeds of trainings whose weights are averaged
PLAN, WORK, REPORT = "plan.json", ".trials", "report"
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
    known = _plan_in(out)
    listing = find_own(data, labels=labels, channel=channel, patients=patients)
    datalist = cases_that_train(listing, read_ids(ids))
    classes = {name: value for value, name in listing.labels.items()}
    check_classes(classes)
    for note in listing.notes:
        say(f"note: {note}")
    if known is None:
        plan = _new_plan(
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
            },
            sam=sam,
            detector=detector,
            detects=not told or any(METHODS[one].detector for name in told for one in members(name)),
        )
    else:
        plan = known
        _refuse_other(plan, datalist, classes, seed)
        say(f"going on with {out / PLAN}")
    plan.choices.setdefault("runs", _runs(runs, steps))
    out.mkdir(parents=True, exist_ok=True)
    plan.write(out / PLAN)
    for line in plan.lines():
        say(line)
    names = told or (plan["methods"] if "methods" in plan.choices else available(say))
    work = out / WORK
    alone = list(dict.fromkeys(one for name in names for one in members(name)))
    bundles = {name: build(plan, name, work / name / "bundle") for name in alone}
    if not set(alone) <= set(plan.steps.get("early", {})):
        _measure(plan, alone, bundles, datalist, steps, say, choosing=not told)
        plan.write(out / PLAN)
    if not told:
        names = plan["methods"]
    chosen = None
    if folds:
        run = _runner(plan, bundles, datalist, work, say)
        longer = {name: plan.steps["final"][name] / count for name, count in plan.steps["trial"].items()}
        chosen = cross_validate(names, plan.rounds, run, lambda name: run(name, 0, part="early"), longer)
    best = chosen.method if chosen else names[0]
    parts = members(best)
    last = "final" if len(parts) == 1 else "half"
    training: Sequence[Mapping[str, Any]] = datalist
    if chosen:
        again, measured = 0, [one for one in parts if one in chosen.trials]
        if suspects == "measure" and measured:
            judge = max(measured, key=chosen.score)
            in_training = {n: _ids(parted(datalist, fold)[0]) for n, fold in enumerate(plan.folds)}
            weeded = weed(chosen.trials[judge], in_training, lambda fold, out: run(judge, fold, tuple(out)))
            training, again = leave_out(plan, datalist, weeded, say), weeded.runs
        if plan.seconds:  # what was not needed is the last training's
            runs = spared_runs(chosen, plan.rounds) + plan.again - again
            plan.steps["last"] = {
                key: value for one in parts for key, value in last_steps(one, plan, runs / len(parts), last).items()
            }
        plan.write(out / PLAN)
    if len(parts) == 1:
        root = build(plan, best, out)
        _train_on_all(plan, best, last, training, root, root, work, say)
    else:
        root, own = build_mean(plan, parts, out), {one: work / one / last for one in parts}
        files = [_train_on_all(plan, one, last, training, bundles[one], own[one], work, say) for one in parts]
        join_models(files, root / "models" / "model.pt")
    quality = quality_of_trials(chosen.trials[best]) if chosen else None
    amend_model(root / "models" / "model.pt", limits=_limits(plan, training, root), quality=quality)
    kept = Kept(work / best, plan.labels)
    written = write_training_report(root / REPORT, plan, chosen, kept.pairs(datalist))
    if pool is not None:
        label_next(root, pool, known=[case[IMAGE] for case in datalist], say=say)
    shutil.rmtree(work)
    say(f"wrote {root} and {written[0].parent}")
    return Trained(root, best, plan, chosen, time.perf_counter() - begun)


def _train_on_all(
    plan: Plan,
    method: str,
    part: str,
    datalist: Sequence[Mapping[str, Any]],
    bundle: Path,
    root: Path,
    work: Path,
    say: Say,
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


def _limits(plan: Plan, datalist: Sequence[Mapping[str, Any]], root: Path) -> dict[str, Any]:
    """What is usual, measured on all labelled cases as the model sees them."""
    settings = read_model(root / "models" / "model.pt").settings
    load: Callable[[Any], Any] = LoadCased(classes=plan.classes)
    cases = ((read_image(case[IMAGE]), np.asarray(load(case)[LABEL])[0]) for case in datalist)
    return measure_limits(cases, settings.labels, intensity=settings.intensity, slices=settings.slices)


def available(say: Say = logger.info) -> list[str]:
    """Methods whose packages and weights are here, the cheap ones first; of the others it is told why not.

    Raises:
        FileNotFoundError: SAM's own weights are not there.
    """
    from amsam_monai.networks.weights import store

    store.path("mobile_sam")
    found = []
    for name, method in METHODS.items():
        try:
            for weights in method.weights:
                store.path(weights)
            found.append(name)
        except FileNotFoundError as error:
            say(f"{name} is left out: {str(error).splitlines()[0]}")
    return found


def _ids(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(case[CASE_ID]) for case in cases]


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


def _plan_in(out: Path) -> Plan | None:
    """The plan of a training that was begun in a folder.

    Raises:
        FileExistsError: the folder holds something else.
    """
    if (out / PLAN).is_file():
        if (out / REPORT).is_dir() and not (out / WORK).exists():
            raise FileExistsError(
                f"{out} holds a bundle that is trained already; name another folder, or go on from it with --from."
            )
        return Plan.read(out / PLAN)
    if taken(out):
        raise FileExistsError(f"{out} must be a new folder, or hold the {PLAN} of a training to go on; name another.")
    return None


def _new_plan(
    datalist: Sequence[Mapping[str, Any]],
    classes: dict[str, int],
    name: str,
    *,
    folds: int,
    seed: int,
    minutes: float,
    chosen: Mapping[str, Any],
    sam: Mapping[str, Any] | None,
    detector: str | None,
    detects: bool,
) -> Plan:
    load: Callable[[Any], Any] = LoadCased(classes=classes)
    first = load(datalist[0])
    loaded = chain([first], map(load, datalist[1:]))
    seen = fingerprint(loaded, list(classes), volumes=first[IMAGE].ndim == 4)
    missing = [one for one, facts in seen.classes.items() if not facts.cases]
    if missing:
        raise ValueError(
            f"each class must be in a training case, got none with {', '.join(missing)}; leave it out of --labels, or "
            "label a case that has it."
        )
    choices = choose(seen, **chosen)
    if detects or detector is not None:
        choices["detector"] = choose_detector(detector)
    if sam is not None:
        choices["backbone"] = Choice(dict(sam), "as told", "--backbone")
        if sam.get("backbone") != "vit_t":
            choices["window"] = Choice(0, "an encoder that looks at the whole image sees whole images")
    drawn = draw_folds(datalist, folds=folds, seed=seed) if folds else []
    return Plan(name, classes, seen.to_mapping(), choices, _ids(datalist), drawn, seed, minutes)


def _refuse_other(plan: Plan, datalist: Sequence[Mapping[str, Any]], classes: Mapping[str, int], seed: int) -> None:
    here = sorted(_ids(datalist))
    for what, have, want in (
        ("cases", sorted(plan.cases), here),
        ("classes", plan.classes, dict(classes)),
        ("seed", plan.seed, seed),
    ):
        if have != want:
            raise ValueError(f"the training to go on has other {what}: {have}, got {want}; name another folder.")


def _runs(told: int | None, steps: int | None) -> Choice:
    if told is not None:
        return Choice(told, "as told", "--runs")
    if steps is not None:
        return Choice(1, "as many steps as told, once", "--runs")
    reason = "at most: the weights of plain from so many seeds are averaged where there is time; one may be a bad one"
    return Choice(RUNS, reason, "--runs")


def _measure(
    plan: Plan,
    names: Sequence[str],
    bundles: Mapping[str, Path],
    datalist: Sequence[Mapping[str, Any]],
    steps: int | None,
    say: Say,
    *,
    choosing: bool,
) -> None:
    """Put steps into the plan, as told or as many as fit the time, and which methods there are to choose among."""
    if choosing:
        plan.choices["methods"] = Choice(list(names), "those whose packages and weights are here", "--method")
    if steps is not None:
        told = {"trial": steps // 3, "final": steps, "half": steps // 2}
        plan.steps = with_early(
            {part: as_told(names, count, 1 if part == "trial" else plan["runs"]) for part, count in told.items()}
        )
        return
    costs: dict[str, Cost] = {}
    folds = len(plan.folds)
    choosing = choosing and folds > 0
    untimed: Sequence[str] = ()
    for at, name in enumerate(names, 1):
        costs[name] = measure(bundles[name], name, datalist, plan)
        say(f"{name}: {costs[name].step:.2f} s a step, {costs[name].case:.1f} s to segment a case")
        if (
            choosing
            and name == KEPT
            and no_room_beside(costs[name], minutes=plan.minutes, cases=len(datalist), folds=folds)
        ):
            untimed = names[at:]
            break
    plan.seconds = {name: round(cost.step, 4) for name, cost in costs.items()}
    plan.steps, slow = that_fit(
        costs,
        minutes=plan.minutes,
        cases=len(datalist),
        folds=folds,
        choosing=choosing,
    )
    if plan.rounds < folds:
        say(f"{plan.minutes:g} minutes are too few for all folds: {plan.rounds} of {folds} will be run")
    if slow or untimed:
        known = [f"{name} ({count} steps in a trial for {METHODS[name].least})" for name, count in slow.items()]
        reason = f"{plan.minutes:g} minutes are too few to judge {', '.join([*known, *untimed])}"
        plan.choices["methods"] = Choice([name for name in costs if name not in slow], reason, "--minutes")
        say(f"methods: {said(plan['methods'])} - {reason}")
    if choosing and not any(METHODS[name].detector for name in plan["methods"]):
        plan.choices.pop("detector", None)


def _runner(
    plan: Plan, bundles: Mapping[str, Path], datalist: Sequence[Mapping[str, Any]], work: Path, say: Say
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


def _clock(say: Say, name: str) -> Callable[[int, int, float], None]:
    """Tells the time that is left, each epoch."""
    begun = time.perf_counter()

    def tell(epoch: int, epochs: int, loss: float) -> None:
        left = (time.perf_counter() - begun) / epoch * (epochs - epoch)
        say(f"{name}: {epoch / epochs:.0%}, loss {loss:.3f}, {left / 60:.1f} minutes left")

    return tell
