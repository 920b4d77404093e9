"""Which prediction belongs to which label, and whether the two can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amsam_monai.data.files.images import (
    ImageFileError,
    LoadedImage,
    check_same_geometry,
    list_inputs,
    stem_of,
)
from amsam_monai.data.files.segments import common_grid, onto
from amsam_monai.evaluation.label_maps import Own, read_mapped
from amsam_monai.keys import IGNORE_INDEX

# endings that tools put behind a case's name, and words before its number
SUFFIX = re.compile(
    r"[._-](seg|segmentation|pred|prediction|trans|gt|groundtruth|label|labels|labelmap|mask|manual|output)$", re.I
)
PREFIX = re.compile(r"^(img|image|label|mask|seg|pred)[._-]?(?=\d)", re.I)


@dataclass(frozen=True)
class Pair:
    """The files of one case.

    Args:
        case: its name.
        pred: file of the prediction.
        label: file of the label.
        image: file of the image, for pictures; None without.
        own: values or names that the label has instead of the table's, see `parse_map`.
        own_pred: those of the prediction.
    """

    case: str
    pred: Path
    label: Path
    image: Path | None = None
    own: Own | None = None
    own_pred: Own | None = None


@dataclass(frozen=True)
class LoadedPair:
    """A case in memory.

    Args:
        pair: its files.
        pred: class indices of the table.
        label: class indices of the table, and IGNORE_INDEX.
        spacing_mm: size of a voxel; None where it is unknown.
        notes: what was done to it, for the report.

    Shape: pred and label (H, W) or (I, J, K).
    """

    pair: Pair
    pred: np.ndarray
    label: np.ndarray
    spacing_mm: tuple[float, ...] | None
    notes: tuple[str, ...] = ()


def parse_labels(text: str) -> dict[int, str]:
    """A label table from "1=RV,2=Myo,3=LV".

    Raises:
        ValueError: not of that form, an index outside 1..254, or an index or a name twice. 255=lesion alone is read
            as 1=lesion, the table of masks of 0 and 255.
    """
    table: dict[int, str] = {}
    if text.strip().startswith(f"{IGNORE_INDEX}=") and "," not in text:
        text = text.replace(f"{IGNORE_INDEX}=", "1=", 1)
    for item in filter(None, (part.strip() for part in text.split(","))):
        index, equals, name = item.partition("=")
        if not (equals and index.strip().isdigit() and name.strip() and 0 < int(index) < IGNORE_INDEX):
            raise ValueError(f"labels must read 1=RV,2=Myo,... with indices 1 to 254, got {item!r}.")
        if int(index) in table or name.strip() in table.values():
            raise ValueError(f"labels must name each index once and each name once, got {item!r} again.")
        table[int(index)] = name.strip()
    if not table:
        raise ValueError("labels must name at least one class, such as 1=lesion, got none.")
    return table


def case_of(path: str | Path) -> str:
    """Name of a case: the file's name without ending, usual suffixes (_seg, _pred, _gt ...) and img/label prefixes."""
    name = stem_of(path)
    while (shorter := SUFFIX.sub("", name)) not in (name, ""):
        name = shorter
    return PREFIX.sub("", name)


def find_pairs(
    pred: str | Path,
    label: str | Path,
    images: str | Path | None = None,
    *,
    only_matched: bool = False,
    names: Iterable[str] = (),
    own: Own | None = None,
    own_pred: Own | None = None,
) -> list[Pair]:
    """Match predictions and labels by the names of their cases; by folder and name where names repeat, as frames do.

    Args:
        pred: a folder, or one file. What `amsam segment` writes beside a label map (probabilities, overlays, a mask
            per class) is passed over.
        label: a folder, or one file; images lying beside labels (ACDC's layout) are told apart by their names.
        images: a folder, or one file, of images for the report's pictures.
        only_matched: leave out cases that lack a partner, instead of refusing.
        names: of the classes.
        own: values or names that the labels have instead of the table's, see `parse_map`.
        own_pred: those of the predictions.

    Raises:
        FileNotFoundError: a folder or file is not there.
        ValueError: a case lacks a partner or has two; all are listed.
    """
    if Path(pred).is_file() and Path(label).is_file():
        files = {case_of(label): (Path(pred), Path(label))}
    else:
        clips = Path(pred).is_dir() and Path(label).is_dir() and (names_repeat(pred) or names_repeat(label))
        preds, labels = labels_by_case(pred, names, folders=clips), labels_by_case(label, folders=clips)
        lonely = [f"{path}: no label" for case, path in preds.items() if case not in labels]
        lonely += [f"{path}: no prediction" for case, path in labels.items() if case not in preds]
        if lonely and not only_matched:
            raise ValueError(_listing("every prediction must have a label, and every label a prediction", lonely))
        files = {case: (preds[case], labels[case]) for case in preds if case in labels}
    if not files:
        raise ValueError(f"{pred} and {label} must share cases, got none; compare their file names.")
    pictures = images_by_case(images)
    return [Pair(case, *both, pictures.get(case), own, own_pred) for case, both in sorted(files.items())]


def load_pair(pair: Pair, labels: Mapping[int, str]) -> LoadedPair:
    """Read prediction and label, and check that they lie on each other and keep to the table.

    Where the table is the single label 1, a picture of 0 and 255 is read as 0 and 1. Elsewhere 255 in a label is
    never scored. Files that name their classes are matched by name and brought into the other's geometry.

    Raises:
        ValueError: unreadable file, shapes or affines that differ, or indices outside the table.
    """
    pred, label = read_mapped(pair.pred, labels, pair.own_pred), read_mapped(pair.label, labels, pair.own)
    if pred.segments is not None and label.segments is not None:
        grid = common_grid(pred, label)
        pred, label = onto(pred, grid), onto(label, grid)
    elif pred.segments is not None:
        pred = onto(pred, label)
    elif label.segments is not None:
        label = onto(label, pred)
    check_same_geometry(label, pred)
    notes: list[str] = []
    maps = [_known_indices(loaded, labels, side, notes) for loaded, side in ((pred, "prediction"), (label, "label"))]
    return LoadedPair(pair, maps[0], maps[1], label.spacing_mm or pred.spacing_mm, tuple(notes))


def load_problems(errors: Iterable[Exception]) -> ValueError:
    """One error out of many, each on its own line."""
    return ValueError(_listing("predictions and labels must fit each other and the table", map(str, errors)))


def names_repeat(folder: str | Path) -> bool:
    """Whether files in different folders below `folder` have one name, as the frames of several clips may."""
    parents: dict[str, set[Path]] = {}
    for file in list_inputs(folder):
        parents.setdefault(stem_of(file), set()).add(file.parent)
    return any(len(found) > 1 for found in parents.values())


def labels_by_case(path: str | Path, names: Iterable[str] = (), *, folders: bool = False) -> dict[str, Path]:
    """Files by the names of their cases; where images lie beside labels, the latter.

    Args:
        path: a folder or a file.
        names: of the classes.
        folders: a case is named after its folder below `path` too.
    """
    files = _without_extras([Path(path)] if Path(path).is_file() else list_inputs(path), names)
    groups: dict[str, list[Path]] = {}
    for file in files:
        case = (file.parent.relative_to(path) / case_of(file)).as_posix() if folders else case_of(file)
        groups.setdefault(case, []).append(file)
    mixed = any(len(group) > 1 for group in groups.values())
    if mixed:
        marked = {case: [file for file in group if SUFFIX.search(stem_of(file))] for case, group in groups.items()}
        groups = {case: group for case, group in marked.items() if group} or groups
    double = [f"{case}: {', '.join(map(str, group))}" for case, group in groups.items() if len(group) > 1]
    if double:
        raise ValueError(_listing("every case must have one file", double))
    return {case: group[0] for case, group in groups.items()}


def _without_extras(files: list[Path], names: Iterable[str]) -> list[Path]:
    stems = {file.parent / stem_of(file) for file in files}
    endings = ["_probabilities", "_overlay", "_instances", *("_" + re.sub(r"[^\w-]", "_", name) for name in names)]

    def extra(file: Path) -> bool:
        stem = stem_of(file)
        return any(stem.endswith(ending) and file.parent / stem.removesuffix(ending) in stems for ending in endings)

    return [file for file in files if not extra(file)]


def images_by_case(path: str | Path | None) -> dict[str, Path]:
    """Images by case; where labels lie beside them, the files without a label's suffix."""
    if path is None:
        return {}
    files = [Path(path)] if Path(path).is_file() else list_inputs(path)
    found = {case_of(file): file for file in files if SUFFIX.search(stem_of(file))}
    return {**found, **{case_of(file): file for file in files if not SUFFIX.search(stem_of(file))}}


def _known_indices(loaded: LoadedImage, labels: Mapping[int, str], side: str, notes: list[str]) -> np.ndarray:
    array = loaded.array
    present = indices_in(array)
    if list(labels) == [1] and present <= {0, IGNORE_INDEX}:
        if IGNORE_INDEX in present:
            notes.append(f"255 in the {side} read as 1")
        return (array == IGNORE_INDEX).astype(np.uint8)
    if side == "label" and IGNORE_INDEX in present:
        notes.append("voxels labelled 255 not scored")
        present.discard(IGNORE_INDEX)
    strange = present - {0, *labels}
    if strange:
        table = ", ".join(f"{index}={name}" for index, name in labels.items())
        values = ", ".join(map(str, sorted(strange)[:8])) + (" ..." if len(strange) > 8 else "")
        raise ImageFileError(loaded.path, f"{side} must hold 0 and {table}, got {values} too; name them or remap.")
    return array


def indices_in(array: np.ndarray) -> set[int]:
    """The values of an integer array; quick for bytes, slice by slice."""
    if array.dtype == np.uint8:
        seen = np.zeros(256, dtype=bool)
        for part in array.T if array.ndim > 2 else [array]:  # the last axis first, as NIfTI lies in memory
            seen |= np.bincount(part.ravel(order="K"), minlength=256) > 0
        return set(np.flatnonzero(seen).tolist())
    return set(np.unique(array).tolist())


def _listing(rule: str, problems: Iterable[str], shown: int = 20) -> str:
    lines = list(problems)
    rest = [f"  ... and {len(lines) - shown} more"] if len(lines) > shown else []
    return "\n".join([f"{rule}; got {len(lines)} problem(s):", *(f"  {line}" for line in lines[:shown]), *rest])
