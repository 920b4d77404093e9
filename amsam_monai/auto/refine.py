"""Goes on from a bundle on new labelled cases, and keeps the old weights where new ones are no better."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.auto.cases import cases_that_train
from amsam_monai.auto.folds import draw_folds, parted
from amsam_monai.auto.pool import label_next
from amsam_monai.auto.trial import Cases, Trial, quality_of_trials, quiet, segment_left_out, segmenter_of
from amsam_monai.bundles.load import LoadedBundle, load_bundle
from amsam_monai.bundles.model_file import amend_model
from amsam_monai.bundles.refining import REFINE, detector_stays
from amsam_monai.bundles.run import run_training
from amsam_monai.data.classes import Classes
from amsam_monai.data.datasets.load_cased import LoadCased
from amsam_monai.data.datasets.own import find_own
from amsam_monai.data.files.atomic import taken
from amsam_monai.data.files.images import read_image
from amsam_monai.data.files.writers import write_label
from amsam_monai.data.ids import read_ids
from amsam_monai.evaluation.tables import markdown_table
from amsam_monai.keys import CASE_ID, IMAGE, LABEL
from amsam_monai.segment.segmenter import Segmenter

logger = logging.getLogger(__name__)

Say = Callable[[str], None]
PER_EPOCH = 10  # steps
BETTER = "the refined weights are better on the cases left out, and are kept"
NO_BETTER = "the refined weights are no better on the cases left out; the old ones stay"


@dataclass(frozen=True)
class Refined:
    """A bundle that went on from another.

    Args:
        root: its folder.
        before: Dice of the old weights on all cases, mean over classes.
        after: Dice of refined weights, each case segmented by weights that it did not train.
        better: whether the bundle has refined weights.
        seconds: of everything.
    """

    root: Path
    before: float
    after: float
    better: bool
    seconds: float


def refine(
    data: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    labels: Mapping[int, str] | None = None,
    channel: int | None = None,
    patients: str | None = None,
    ids: Sequence[str] | str | Path | None = None,
    steps: int = 200,
    folds: int = 3,
    seed: int = 0,
    pool: str | Path | None = None,
    say: Say = logger.info,
) -> Refined:
    """Make a bundle that goes on from another one, by its own refine.yaml, on labelled cases of your own.

    Folds by patient tell whether that makes it better: each fold is segmented by weights refined on the others. Where
    their Dice is above that of the old weights, the bundle is refined on all cases; otherwise it is a copy of the old.

    Args:
        data: a folder or a list of pairs, see `own_datalist`; its classes are some of the bundle's, by name.
        source: path or name of the bundle, see `find_bundle`.
        out: folder of the new bundle.
        labels: value in the label files -> name of the class.
        channel: which of several an image is.
        patients: which cases are of one patient, see `patients_of`.
        ids: those that train, of cases or patients, or a file of them; all by default.
        steps: of each training.
        folds: at least 2.
        seed: of everything that is drawn.
        pool: folder of unlabelled images; the report then tells which to label next.
        say: is told what happens, line by line.

    Raises:
        FileNotFoundError: no data, or no such bundle.
        DatasetError: cases that cannot be used, all of them.
        ValueError: classes that the bundle lacks, or cases of one patient alone.
        FileExistsError: `out` is there.
    """
    begun = time.perf_counter()
    out = Path(out).resolve()
    if taken(out):
        raise FileExistsError(f"{out} must be a new folder for the refined bundle; name another.")
    if folds not in range(2, 11):
        raise ValueError(f"folds must be from 2 to 10, got {folds}; they tell whether refined weights are better.")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    bundle = load_bundle(source)
    listing = find_own(data, labels=labels, channel=channel, patients=patients)
    classes = _of_bundle(bundle, listing.labels)
    datalist = cases_that_train(listing, read_ids(ids))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as name:
        work = Path(name)
        cases = [_entry(case, bundle, classes, work / "labels") for case in datalist]
        old = _scored(bundle.segmenter(), cases, bundle)
        say(f"{bundle.name}: Dice {old.score:.3f} on {len(cases)} cases")
        found = Trial("refined", 0, steps, 0.0)
        for number, patients_left_out in enumerate(draw_folds(cases, folds=folds, seed=seed)):
            train, left_out = parted(cases, patients_left_out)
            model = _train(bundle, train, work / f"fold{number}", steps, seed)
            fold = _scored(segmenter_of(model), left_out, bundle)
            shutil.rmtree(work / f"fold{number}")
            found.dice |= fold.dice
            found.masks += fold.masks
            before = Trial("old", number, 0, 0.0, {case: old.dice[case] for case in fold.dice})
            say(f"fold {number + 1}: Dice {fold.score:.3f} of refined weights, {before.score:.3f} of the old ones")
        better = found.score > old.score
        say(BETTER if better else NO_BETTER)
        made = work / "bundle"
        shutil.copytree(bundle.root, made, ignore=shutil.ignore_patterns("eval", "previous"))
        if better:
            model = _train(bundle, cases, work / "final", steps, seed)
            amend_model(model, limits=bundle.limits, quality=quality_of_trials([found]))
            shutil.copyfile(model, made / "models" / "model.pt")
        _report(made / "report" / "refined.md", bundle, old, found, better)
        if out.is_dir():
            out.rmdir()
        os.replace(made, out)
    if pool is not None:
        label_next(out, pool, known=[case[IMAGE] for case in datalist], say=say)
    say(f"wrote {out}")
    return Refined(out, old.score, found.score, better, time.perf_counter() - begun)


def _of_bundle(bundle: LoadedBundle, labels: Mapping[int, str]) -> dict[str, int]:
    """Class of the bundle -> value in the label files, for those that the data have.

    Raises:
        ValueError: a class that the bundle lacks.
    """
    known = {name.casefold(): name for name in bundle.labels.values()}
    if strange := [name for name in labels.values() if name.casefold() not in known]:
        raise ValueError(
            f"labels must be named as the classes of {bundle.name} are, {', '.join(known.values())}, got "
            f"{', '.join(strange)}; say what the values mean: --labels 1={next(iter(known.values()))}."
        )
    return {known[name.casefold()]: value for value, name in labels.items()}


def _entry(case: Mapping[str, Any], bundle: LoadedBundle, classes: Mapping[str, int], folder: Path) -> dict[str, Any]:
    """A case as the bundle's training reads it; its label is written with the bundle's values."""
    load: Callable[[Any], Any] = LoadCased(classes=classes)
    found = np.asarray(load(case)[LABEL])[0]
    indices = {name: index for index, name in bundle.labels.items()}
    label = np.zeros(found.shape, np.uint8)
    for place, name in enumerate(classes, 1):
        label[found == place] = indices[name]
    source = read_image(case[IMAGE])
    written = Classes.of(bundle.labels, values=bundle.trained_values).written(label)
    folder.mkdir(parents=True, exist_ok=True)
    ending = ".png" if source.kind == "image" else ".nii.gz"
    path = write_label(folder / f"{case[CASE_ID]}{ending}", written, source)
    return {**case, LABEL: str(path), "label_rule": "table"}


def _train(bundle: LoadedBundle, cases: Cases, root: Path, steps: int, seed: int) -> Path:
    """The model file of a bundle refined on cases."""
    shutil.copytree(bundle.root / "models", root / "models", ignore=shutil.ignore_patterns("previous"))
    per_epoch = min(PER_EPOCH, steps)
    told = {"max_epochs": max(1, round(steps / per_epoch)), "steps_per_epoch": per_epoch, "seed": seed}
    with quiet():
        result = run_training(
            bundle.root,
            configs=REFINE,
            datalist={"train": list(cases), "val": [], "test": []},
            root=root,
            overrides=told | detector_stays(bundle.settings),
        )
    return result.weights


def _scored(segment: Segmenter, cases: Cases, bundle: LoadedBundle) -> Trial:
    """Dice of cases, and what the network told of its masks."""
    names = {name: bundle.trained_values[index] for index, name in bundle.labels.items()}
    return segment_left_out(segment, cases, LoadCased(classes=names), Trial("", 0, 0, 0.0))


def _report(path: Path, bundle: LoadedBundle, old: Trial, found: Trial, better: bool) -> None:
    rows = [
        [case, name, *("" if dice is None else f"{dice:.3f}" for dice in (old.dice[case][name], after))]
        for case, after_of in found.dice.items()
        for name, after in after_of.items()
    ]
    text = [
        f"# {bundle.name}, refined on {len(found.dice)} cases",
        f"Mean Dice {old.score:.3f} before, {found.score:.3f} after: {BETTER if better else NO_BETTER}.",
        "Each case was segmented by weights that were refined on others.",
        markdown_table((["case", "class", "before", "after"], rows)),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(text) + "\n", encoding="utf-8")
