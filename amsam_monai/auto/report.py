"""The report in a bundle that was made from your own labels: what was tried, what came out, what looks wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.auto.choice import EARLY, MARGIN, Chosen
from amsam_monai.auto.methods import members
from amsam_monai.auto.plan import Plan, said
from amsam_monai.auto.suspects import SUSPECT
from amsam_monai.auto.trial import Trial
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import read_label, write_label
from amsam_monai.evaluation.pairs import Pair
from amsam_monai.evaluation.report import write_report
from amsam_monai.evaluation.scoring.case_scores import score_case
from amsam_monai.evaluation.scoring.protocols import get_protocol
from amsam_monai.evaluation.scoring.score import Score
from amsam_monai.evaluation.summary import summarise
from amsam_monai.evaluation.tables import Table, markdown_table
from amsam_monai.keys import CASE_ID, IMAGE
from amsam_monai.segment.segmenter import SegmentedImage

FEW_CASES = 10  # below which an expected Dice tells the order of masks more than their value

SHORTER = "The cross-validation trained on fewer cases, and for fewer steps, than the model of the bundle."

LONGER = (
    "Expected is the mean Dice after the steps of the final training, if the error 1 - Dice goes on falling as it fell "
    f"on the first fold, from 1/{EARLY} of a trial's steps to all of them (a power law). The method is chosen by it."
)

OF_TWO = (
    "Two names stand for the mean of both: their probabilities are averaged. It is taken where it is more than "
    f"{MARGIN:g} Dice better than the better one alone, since the two share the time of the final training."
)


class Kept:
    """Results and labels of left-out cases as files of class indices, for the pictures of the report.

    Args:
        folder: where they lie.
        labels: class index to name.
    """

    def __init__(self, folder: Path, labels: Mapping[int, str]) -> None:
        self.folder, self.labels = folder, dict(labels)

    def __call__(self, case: Mapping[str, Any], result: SegmentedImage, label: np.ndarray) -> None:
        """Write both."""
        ending = ".nii.gz" if result.source.kind == "volume" else ".png"
        for kind, array in (("pred", result.label), ("label", label.astype(np.uint8))):
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
            write_label(self.folder / kind / f"{case[CASE_ID]}{ending}", array, result.source, self.labels)

    def pairs(self, cases: Sequence[Mapping[str, Any]]) -> list[Pair]:
        """The files of the cases that there are."""
        found = []
        for case in cases:
            for ending in (".nii.gz", ".png"):
                pred, label = (self.folder / kind / f"{case[CASE_ID]}{ending}" for kind in ("pred", "label"))
                if pred.is_file() and label.is_file():
                    image = Path(case[IMAGE]) if ending == ".png" else None
                    found.append(Pair(str(case[CASE_ID]), pred, label, image))
        return found


def write_training_report(
    folder: Path,
    plan: Plan,
    chosen: Chosen | None,
    pairs: Sequence[Pair],
    *,
    notes: Sequence[str] = (),
) -> list[Path]:
    """Write plan.md, report.md, report.html, scores.csv and summary.json.

    Args:
        folder: of the bundle's report.
        plan: the plan.
        chosen: what the cross-validation found; None where a method was given and nothing was left out.
        pairs: files of the left-out cases, of the chosen method.
        notes: further lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = [f"# {plan.name}: how it was trained", "## Plan", markdown_table(plan_table(plan))]
    if chosen is not None:
        text += ["## Methods", SHORTER, markdown_table(trials_table(plan, chosen))]
        text += [LONGER] if chosen.early else []
        text += [OF_TWO] if any(len(members(name)) > 1 for name in chosen.trials) else []
        text += [rests_on(chosen)]
    scores = scores_of(pairs, plan.labels)
    if suspects := suspect_labels(scores):
        text += ["## Labels worth a second look", *(f"- {line}" for line in suspects)]
    text += [*(f"> {note}" for note in notes)]
    written = [folder / "plan.md"]
    with whole_file(written[0]) as partial:
        Path(partial).write_text("\n\n".join(text) + "\n", encoding="utf-8")
    if scores:
        summary = summarise(scores, plan.labels, get_protocol(), notes=[SHORTER, *suspects, *notes])
        written += write_report(folder, scores, summary, pairs=pairs)
    return written


def rests_on(chosen: Chosen) -> str:
    """On how many cases the expected Dice rests."""
    cases = len({case for trial in chosen.trials[chosen.method] for case in trial.dice})
    return f"The Dice that `amsam segment` expects of a mask is fitted on {cases} left-out case{'s' * (cases != 1)}" + (
        ", which are few: trust its order more than its value." if cases < FEW_CASES else "."
    )


def scores_of(pairs: Sequence[Pair], labels: Mapping[int, str]) -> list[Score]:
    """All metrics of the left-out cases."""
    scores = []
    for pair in pairs:
        pred, label = (read_label(path) for path in (pair.pred, pair.label))
        scores += score_case(pred.array, label.array, labels, case=pair.case, spacing_mm=pred.spacing_mm)
    return scores


def plan_table(plan: Plan) -> Table:
    """Choices with reasons and the options that settle them otherwise."""
    rows = [[name, said(one.value), one.reason, one.option] for name, one in plan.choices.items()]
    return ["", "chosen", "because", "option"], rows


def trials_table(plan: Plan, chosen: Chosen) -> Table:
    """Scores of all methods, fold by fold."""
    folds = max(len(trials) for trials in chosen.trials.values())
    header = ["method", "steps", *(f"fold {number + 1}" for number in range(folds)), "mean Dice", "expected", ""]

    def row(name: str, trials: list[Trial]) -> list[str]:
        scores = [f"{trial.score:.3f}" for trial in trials]
        word = "chosen" if name == chosen.method else "dropped" if name in chosen.dropped else ""
        blank = [""] * (folds - len(trials))
        expected = f"{chosen.expected(name):.3f}" if name in chosen.early else ""
        return [name, str(trials[0].steps), *scores, *blank, f"{chosen.score(name):.3f}", expected, word]

    return header, [row(name, trials) for name, trials in chosen.trials.items()]


def suspect_labels(scores: Sequence[Score]) -> list[str]:
    """Cases whose left-out Dice lies far below the others': the label may be wrong, or the case another kind."""
    found = []
    for name in dict.fromkeys(score.label for score in scores):
        its = {s.case: s.values["dice"] for s in scores if s.label == name and not np.isnan(s.values["dice"])}
        for case, dice in its.items():
            others = [value for other, value in its.items() if other != case]
            if len(others) >= 3 and dice < np.median(others) - SUSPECT:
                found.append(f"{case}: {name} has Dice {dice:.2f}, the others {np.median(others):.2f} in the median")
    return found
