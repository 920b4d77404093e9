"""Tasks of one's own: which cases of a data set train, which are scored, and what their labels are called."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.datasets.checks import finish
from amsam_monai.data.datasets.own import find_own
from amsam_monai.data.datasets.reading import ReadCase, read_case
from amsam_monai.data.files.formats import stem_of

Item = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A data set with few training cases.

    Args:
        name: in the table.
        root: folder of the data set.
        labels: value in the label files -> name of the class; other values are background.
        train: items of the cases that train.
        test: items of the cases that are scored.
        patients: which cases are of one patient, as `amsam train --patients` takes it; None where names tell.
    """

    name: str
    root: Path
    labels: dict[int, str]
    train: tuple[Item, ...]
    test: tuple[Item, ...]
    patients: str | None = None

    @property
    def table(self) -> str:
        """The labels as commands take them: 1=RV,2=Myo."""
        return ",".join(f"{value}={name}" for value, name in self.labels.items())

    def read(self, item: Mapping[str, Any]) -> ReadCase:
        """Image and label of a case; the label holds the task's values."""
        return read_case(item["image"], item["label"], item["label_rule"], self.labels)


def read_tasks(
    file: Path, data: Path, names: Sequence[str] | None = None, *, test_limit: int | None = None
) -> list[Task]:
    """Tasks of a file: {"tasks": {NAME: {"folder", "labels", "train", "test"}}}.

    `train` and `test` list cases by id, by the image's file name without its ending, or by patient. A task may say
    `patients`, see `Task`.

    Args:
        file: JSON.
        data: folder that holds the tasks' folders.
        names: of the tasks wanted; None takes all.
        test_limit: score so many test cases, spread over the list.

    Raises:
        ValueError: a task that the file lacks, an id that no case has, or a case that trains and is scored.
    """
    said = json.loads(file.read_text(encoding="utf-8"))["tasks"]
    if unknown := [name for name in names or () if name not in said]:
        raise ValueError(f"tasks must be among {', '.join(said)}, got {', '.join(unknown)}.")
    return [_task(name, said[name], data, test_limit) for name in names or said]


def _task(name: str, said: Mapping[str, Any], data: Path, limit: int | None) -> Task:
    root = data / said["folder"]
    listing = find_own(root, labels={int(value): str(label) for value, label in said["labels"].items()})
    items = finish(listing, section=None, check="names", progress=False)
    train, test = (_chosen(name, items, said[part]) for part in ("train", "test"))
    if both := {item["case_id"] for item in train} & {item["case_id"] for item in test}:
        raise ValueError(f"{name}: cases must train or be scored, got {', '.join(sorted(both))} in both lists.")
    if limit is not None and limit < len(test):
        test = [test[place] for place in np.linspace(0, len(test) - 1, limit).round().astype(int)]
    return Task(name, root, listing.labels, tuple(train), tuple(test), said.get("patients"))


def _chosen(task: str, items: Sequence[Item], ids: Sequence[str]) -> list[Item]:
    keys = [{item["case_id"], item["patient_id"], stem_of(item["image"])} for item in items]
    if missing := [wanted for wanted in ids if not any(wanted in names for names in keys)]:
        raise ValueError(f"{task}: every id must be a case's, found none called {', '.join(missing[:10])}.")
    return [item for item, names in zip(items, keys, strict=True) if names & set(ids)]


def link_training(task: Task, folder: Path) -> Path:
    """A folder of links to the training cases alone, in their owner's layout, with its dataset.json cut to them."""
    files = [Path(item[key]) for item in task.train for key in ("image", "label")]
    for file in dict.fromkeys(files):
        link(file, folder / file.relative_to(task.root))
    told = task.root / "dataset.json"
    if told.is_file():
        content = json.loads(told.read_text(encoding="utf-8"))
        _cut(content, {file.name for file in files})
        (folder / "dataset.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folder


def link_test(task: Task, folder: Path) -> Path:
    """A folder of links to the test images, called after their cases."""
    for item in task.test:
        image = Path(item["image"])
        ending = image.name[len(stem_of(image)) :]
        link(image, folder / f"{item['case_id']}{ending}")
    return folder


def link(file: Path, place: Path) -> None:
    """A link at `place` that leads to `file`; what is there stays."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(os.path.abspath(file))


def _cut(content: dict[str, Any], names: set[str]) -> None:
    """Leave the listed files alone in the Decathlon's dataset.json."""
    if isinstance(content.get("training"), list):
        kept = [one for one in content["training"] if Path(one["image"]).name in names]
        content.update(training=kept, numTraining=len(kept), test=[], numTest=0)
