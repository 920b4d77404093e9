"""A data set checked, listed and drawn: dataset.json, report and contact sheet."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.datasets.acdc import find_acdc
from amsam_monai.data.datasets.cases import SECTIONS, Case, DatasetError, Listing, Problem, check_ids
from amsam_monai.data.datasets.checks import Facts, Spread, survey
from amsam_monai.data.datasets.image_folder import find_images
from amsam_monai.data.datasets.isic import find_isic
from amsam_monai.data.datasets.own import OWN, find_own
from amsam_monai.data.datasets.presets import PRESETS
from amsam_monai.data.datasets.reading import ReadCase
from amsam_monai.data.datasets.synapse import find_synapse
from amsam_monai.data.files.atomic import check_writable, room_for, whole_file
from amsam_monai.data.files.claim import claim, release
from amsam_monai.data.files.writers import write_label
from amsam_monai.data.prepare.contact_sheet import Tile, make_tile, write_contact_sheet
from amsam_monai.data.prepare.report import make_report, to_markdown

DATASETS = (OWN, "acdc", "synapse", "isic", *PRESETS)
AS_STORED = ("table", "named")  # rules whose labels stay where they are
DESCRIPTION = "listed by amsam prepare"
CLAIM = ".amsam-prepare"  # lies in the folder while it is written to
MODALITY = {"acdc": "MRI", "synapse": "CT"}


@dataclass
class Prepared:
    """What `prepare` wrote.

    Args:
        report: the report's content, see `make_report`.
        files: dataset.json, report.md, report.json, contact_sheet.png.
    """

    report: dict[str, Any]
    files: list[Path]


def find_dataset(dataset: str, src: str | Path, **options: Any) -> Listing:
    """A data set's cases as they lie on disk.

    Args:
        dataset: one of DATASETS.
        src: its folder.
        options: `labels`, `split`, `edition`, `form`, `channel`, as far as the data set's datalist function takes them,
            and `patients`, which says for any of them which cases are of one patient, see `patients_of`.

    Raises:
        ValueError: unknown data set, or an option that it does not take.
    """
    if dataset not in DATASETS:
        raise ValueError(f"data set must be one of {', '.join(DATASETS)}, got {dataset!r}.")
    given = {name: value for name, value in options.items() if value is not None}
    patients = given.pop("patients", None) if dataset != OWN else None
    taken = {
        OWN: {"labels", "channel", "patients"},
        "acdc": {"split", "form"},
        "synapse": {"split", "labels"},
        "isic": {"split", "edition"},
    }
    if strange := sorted(set(given) - taken.get(dataset, {"split", "labels"})):
        raise ValueError(f"{dataset} takes no {', '.join(strange)}.")
    finders: dict[str, Callable[..., Listing]] = {OWN: find_own, "acdc": find_acdc, "synapse": find_synapse}
    finders |= {"isic": find_isic}
    listing = finders[dataset](src, **given) if dataset in finders else find_images(src, preset=dataset, **given)
    if patients is not None:
        listing.take_patients(patients)
    return listing


def prepare(
    dataset: str,
    src: str | Path,
    out: str | Path,
    *,
    skip_broken: bool = False,
    absolute: bool = False,
    sheet_cases: int = 24,
    progress: bool = False,
    spread: Spread | None = None,
    **options: Any,
) -> Prepared:
    """Check a data set and write its dataset.json, report and contact sheet into `out`.

    Images stay where they are. Masks of pictures are written anew below out/labels as class indices at their image's
    size; label volumes, which hold class ids already, stay where they are too. On an error nothing is left in `out`
    but a report of the problems.

    Args:
        dataset: one of DATASETS.
        src: folder of the data set.
        out: folder to write; made if missing.
        skip_broken: leave offending cases out and list them in the report, instead of refusing.
        absolute: absolute paths in dataset.json; by default they are relative to it.
        sheet_cases: cases on the contact sheet.
        progress: show a bar.
        spread: see `survey`.
        options: see `find_dataset`.

    Raises:
        DatasetError: offending files, all of them; or no sound case at all.
        ValueError: `out` holds labels that are not from here.
        OSError: `out` cannot be written to, or another process prepares there.
    """
    out, listing = Path(out), find_dataset(dataset, src, **options)
    check_out(out)
    check_writable(out)
    mine = claim(out / CLAIM, "another `amsam prepare`")
    try:
        remove_leftovers(out)
        return _prepare(listing, out, skip_broken, absolute, sheet_cases, progress, spread)
    finally:
        release(mine)


@dataclass(frozen=True)
class Keep:
    """Writes the label of a case where it has to be written anew, and draws the case if it is shown.

    Args:
        labels: folder of labels.
        shown: ids of cases on the contact sheet.
    """

    labels: Path
    shown: frozenset[str]

    def __call__(self, case: Case, read: ReadCase) -> Tile | None:
        """The case's tile."""
        if case.rule not in AS_STORED or read.mended:
            write_label(self.labels / f"{case.case_id}.png", read.label.array, read.image)
        if case.case_id not in self.shown:
            return None
        return make_tile(read, " ".join(filter(None, (case.case_id, case.section))))


def _prepare(
    listing: Listing,
    out: Path,
    skip_broken: bool,
    absolute: bool,
    sheet_cases: int,
    progress: bool,
    spread: Spread | None,
) -> Prepared:
    shown = frozenset(case.case_id for case in spread_out(listing.cases, sheet_cases))
    with new_folder(out / "labels") as labels:
        facts, problems = survey(listing, progress=progress, each=Keep(labels.resolve(), shown), spread=spread)
        problems = listing.problems + check_ids(listing.cases) + problems
        facts = without_problems(facts, problems)
        report = make_report(listing, facts, problems)
        if problems and not (skip_broken and facts):
            write_report(out, report)
            raise DatasetError(listing.dataset, problems)
    content = dataset_json(listing, facts, out, absolute)
    title = f"{listing.dataset}: {report['cases']} cases, {report['patients']} patients"
    ordered = [fact.more for fact in facts if fact.more is not None]
    files = [write_contact_sheet(out / "contact_sheet.png", ordered, title, listing.labels), *write_report(out, report)]
    return Prepared(report, [write_json(out / "dataset.json", content), *files])


def check_out(out: Path) -> None:
    """Refuse a folder whose labels would be replaced though `prepare` did not write them, the source's own above all.

    Raises:
        ValueError: there is such a folder, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: must be a folder to write to, got a file.")
    listing = out / "dataset.json"
    ours = listing.is_file() and DESCRIPTION in listing.read_text(encoding="utf-8", errors="replace")
    ours = ours or (out / CLAIM).exists()  # of a run that was killed
    if (out / "labels").exists() and not ours:
        raise ValueError(f"{out}: must not hold labels that amsam prepare did not write; choose another folder.")


def remove_leftovers(out: Path) -> None:
    """Remove what a run that was killed left unfinished; no other process prepares here."""
    for path in (*out.glob(".partial-*"), *out.glob(".old-*-labels")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def without_problems(facts: list[Facts], problems: list[Problem]) -> list[Facts]:
    """Facts of the cases that no problem is about."""
    bad = {problem.path for problem in problems}
    return [fact for fact in facts if not bad & {fact.case.image, fact.case.label}]


def spread_out(cases: list[Case], count: int) -> list[Case]:
    """`count` cases from the first to the last at even distances."""
    if len(cases) <= count:
        return cases
    return [cases[int(place)] for place in np.linspace(0, len(cases) - 1, max(count, 1)).round()]


def dataset_json(listing: Listing, facts: list[Facts], out: Path, absolute: bool) -> dict[str, Any]:
    """The data set in the Medical Segmentation Decathlon's terms, which MONAI's load_decathlon_datalist reads.

    Where no case has a section, all are for training; otherwise cases without one go under "unassigned".
    """
    cases = [as_written(fact, out) for fact in facts]
    loose = "unassigned" if any(case.section for case in cases) else "training"
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for case in cases:
        groups.setdefault(case.section or loose, []).append(decathlon_item(case, out, absolute))
    return {
        "name": listing.dataset,
        "description": f"{listing.dataset}, {DESCRIPTION}",
        "tensorImageSize": "3D" if facts and len(facts[0].shape) == 3 else "2D",
        "modality": {"0": MODALITY.get(listing.dataset, "RGB")},
        "labels": {"0": "background"} | {str(value): name for value, name in listing.labels.items()},
        "numTraining": len(groups["training"]),
        "numValidation": len(groups["validation"]),
        "numTest": len(groups["test"]),
    } | groups


def as_written(fact: Facts, out: Path) -> Case:
    """The case with its label as it stands in `out`, class indices already."""
    case = fact.case
    if case.rule in AS_STORED and not fact.mended:
        return case
    return replace(case, label=out / "labels" / f"{case.case_id}.png", rule="table")


def decathlon_item(case: Case, out: Path, absolute: bool) -> dict[str, Any]:
    """A case's entry, with paths from dataset.json on or absolute ones."""
    item = case.item()
    for key in ("image", "label"):
        path = os.path.abspath(item[key])
        item[key] = path if absolute else Path(os.path.relpath(path, out.absolute())).as_posix()
    return item


def write_report(out: Path, report: Mapping[str, Any]) -> list[Path]:
    """Write report.md and report.json."""
    with whole_file(out / "report.md") as partial:
        partial.write_text(to_markdown(dict(report)), encoding="utf-8")
    return [out / "report.md", write_json(out / "report.json", report)]


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON file."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that replaces `path` when the block ends well and vanishes otherwise, or when it is empty."""
    partial, old = (path.with_name(f".{word}-{os.getpid()}-{path.name}") for word in ("partial", "old"))
    with room_for(path):
        partial.mkdir(parents=True)
    try:
        yield partial
        if any(partial.iterdir()):
            with room_for(path):
                if path.exists():
                    path.rename(old)
                partial.rename(path)
    finally:
        if old.exists() and not path.exists():  # told to end between the two
            old.rename(path)
        for one in (partial, old):
            shutil.rmtree(one, ignore_errors=True)
