"""What every data set comes down to: cases with an image, a label, ids and a section, and what is wrong with them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amsam_monai.data.files.names import natural_key, same_name
from amsam_monai.data.patients import patients_of

SECTIONS = ("training", "validation", "test")  # as in the Medical Segmentation Decathlon's dataset.json
LISTED = 20  # offending files that a message names; all of them are in DatasetError.problems
PATIENTS_UNKNOWN = "the owner does not say whose pictures these are; each counts as a patient of its own"


@dataclass
class Case:
    """One image and its label.

    Args:
        image: file.
        label: file; the same one where an array file holds both.
        case_id: unique in the data set, the same whatever the folder is called.
        patient_id: whom it shows; the case id where the owner does not say.
        section: one of SECTIONS, or None where no split names it.
        rule: how label values become classes, see `to_classes`: "table", "binary" or "instances".
        extra: more entries of the datalist's item, such as phase or slice.
        shared_patient: the owner put a patient of the training part here on purpose.
    """

    image: Path
    label: Path
    case_id: str
    patient_id: str
    section: str | None = None
    rule: str = "table"
    extra: dict[str, Any] = field(default_factory=dict)
    shared_patient: bool = False

    def item(self) -> dict[str, Any]:
        """The case as an item of a MONAI datalist; every item has the same entries, so that a batch can form."""
        item = {"image": str(self.image), "label": str(self.label), "case_id": self.case_id}
        item |= {"patient_id": self.patient_id, "section": self.section or "", "label_rule": self.rule}
        return item | self.extra


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used as it is, and why."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass
class Listing:
    """A data set as found on disk.

    Args:
        dataset: its name.
        labels: label ids to names.
        cases: in natural order of their ids.
        problems: what makes it unusable.
        notes: what was passed over or mended, in words.
    """

    dataset: str
    labels: dict[int, str]
    cases: list[Case]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take_patients(self, patients: str) -> None:
        """Let a pattern of the case ids or a table, see `patients_of`, say which cases are of one patient."""
        whose = patients_of([case.case_id for case in self.cases], patients)
        for case in self.cases:
            case.patient_id = whose[case.case_id]
        self.notes = [note for note in self.notes if note != PATIENTS_UNKNOWN]
        self.notes.append(f"{len(set(whose.values()))} patients of {len(whose)} cases, as {patients!r} says")


class DatasetError(ValueError):
    """A data set with offending files; the message lists them.

    Args:
        dataset: name of the data set.
        problems: all of them.
    """

    def __init__(self, dataset: str, problems: Sequence[Problem]) -> None:
        lines = [f"  {problem}" for problem in problems[:LISTED]]
        if len(problems) > LISTED:
            lines.append(f"  ... and {len(problems) - LISTED} more")
        super().__init__(f"{dataset} must be mended first, {len(problems)} problem(s):\n" + "\n".join(lines))
        self.dataset = dataset
        self.problems = list(problems)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.dataset, self.problems)


def files_in(folder: Path) -> list[str]:
    """Names of the files of a folder in natural order, hidden ones left out; fast for 100 000 of them.

    A link that leads nowhere or in a circle counts as a file: reading it will say so.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and not _is_folder(entry)]
    return sorted((name for name in names if name.casefold() != "thumbs.db"), key=natural_key)


def folders_in(folder: Path) -> list[str]:
    """Names of the sub-folders of a folder in natural order, hidden ones left out."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry)]
    return sorted((name for name in names if name != "__MACOSX"), key=natural_key)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links
        return False


def folders_below(root: Path, depth: int) -> list[Path]:
    """`root` and the folders at most `depth` levels below it, upper levels first; links are followed, circles are not.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder.")
    found, level, seen = [root], [root], {os.path.realpath(root)}
    for _ in range(depth):
        below = [folder / name for folder in level for name in folders_in(folder)]
        level = []
        for folder in below:
            real = os.path.realpath(folder)
            if real not in seen:
                seen.add(real)
                level.append(folder)
        found += level
    return found


def check_ids(cases: Iterable[Case]) -> list[Problem]:
    """Case ids that occur twice, and patients that occur in two sections."""
    by_id: dict[str, list[Case]] = defaultdict(list)
    sections: dict[str, dict[str, Case]] = defaultdict(dict)
    for case in cases:
        by_id[case.case_id].append(case)
        if case.section and not case.shared_patient:
            sections[case.patient_id].setdefault(case.section, case)
    problems = [
        Problem(case.image, f"case id {case_id} must be unique, {twins[0].image} has it too.")
        for case_id, twins in by_id.items()
        for case in twins[1:]
    ]
    for patient, seen in sections.items():
        if len(seen) > 1:
            problems += [
                Problem(case.image, f"patient {patient} must lie in one section, got {' and '.join(sorted(seen))}.")
                for case in seen.values()
            ]
    return problems


def pair_up(
    images: Mapping[str, list[Path]], labels: Mapping[str, list[Path]]
) -> tuple[list[tuple[str, Path, Path]], list[Problem]]:
    """Images and labels of the same key, and those that lack a partner or have two.

    Args:
        images: key to files.
        labels: key to files.
    """
    pairs, problems = [], []
    for key in sorted(images.keys() | labels.keys(), key=natural_key):
        for kind, files in (("image", images.get(key, [])), ("label", labels.get(key, []))):
            problems += [
                Problem(path, f"must be the only {kind} called {key}, {files[0]} is too.") for path in files[1:]
            ]
        if key not in labels:
            problems.append(Problem(images[key][0], f"must have a label, found none called {key}."))
        elif key not in images:
            problems.append(Problem(labels[key][0], f"must have an image, found none called {key}."))
        else:
            pairs.append((key, images[key][0], labels[key][0]))
    return pairs, problems


def by_key(folder: Path, names: Iterable[str], suffixes: Sequence[str] = ()) -> dict[str, list[Path]]:
    """Files by their name without ending, and without the first of `suffixes` that it ends with.

    Args:
        folder: where they lie.
        names: file names.
        suffixes: such as "_segmentation"; compared without regard to case.
    """
    keyed: dict[str, list[Path]] = defaultdict(list)
    for name in names:
        stem = same_name(re.sub(r"\.nii\.gz$|\.npy\.h5$|\.[^.]*$", "", name))
        ending = next((s for s in suffixes if stem.casefold().endswith(s.casefold()) and len(stem) > len(s)), "")
        keyed[stem[: len(stem) - len(ending)]].append(folder / name)
    return keyed
