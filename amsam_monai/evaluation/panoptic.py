"""Scores of single objects: panoptic quality, and mean average precision at an IoU of .5."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from amsam_monai.data.files.images import ImageFileError, read_image, stem_of
from amsam_monai.evaluation.pairs import LoadedPair, Pair, load_pair
from amsam_monai.keys import IGNORE_INDEX
from amsam_monai.segment.instance_files import MAP, TABLE, read_table

AT = 0.5  # IoU above which two objects are the same; there can be one at most


@dataclass(frozen=True)
class Objects:
    """The objects of a class in a case.

    Args:
        iou: of each predicted with each labelled object.
        scores: of the predicted objects.

    Shape: iou (P, L), scores (P,).
    """

    iou: np.ndarray
    scores: np.ndarray

    @property
    def counts(self) -> tuple[int, int, int, float]:
        """Objects found, predicted where there is none, and missed; and the sum of the IoU of those found."""
        found = self.iou > AT
        hits = int(found.sum())
        return hits, self.iou.shape[0] - hits, self.iou.shape[1] - hits, float(self.iou[found].sum())


def score_objects(
    pairs: Sequence[Pair], labels: Mapping[int, str], *, progress: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Panoptic quality and average precision of all cases together, class by class.

    The objects of a file are those of NAME_instances.* beside it, with the scores of NAME_instances.csv, as `amsam
    segment --instances` writes them; without it the connected parts of each class, all with the score 1. Voxels that
    are never scored belong to no object.

    Args:
        pairs: from `find_pairs`.
        labels: index to name.
        progress: called after each case.

    Returns:
        "classes", and their "mean": per class "pq", "sq", "rq", "ap50" (None where there is no such object, or for
        "ap50" where pycocotools is not installed), "found", "false", "missed".

    Raises:
        ValueError: files that cannot be scored, or whose maps of objects do not fit them.
    """
    found: dict[int, list[Objects]] = {index: [] for index in labels}
    for pair in pairs:
        loaded = load_pair(pair, labels)
        for index, objects in objects_of(loaded, list(labels)).items():
            found[index].append(objects)
        if progress is not None:
            progress()
    classes = {name: panoptic(found[index]) for index, name in labels.items()}
    precisions = average_precision(found)
    for index, name in labels.items():
        classes[name]["ap50"] = None if precisions is None else precisions[index]
    columns = ("pq", "sq", "rq", "ap50")
    told = {column: [one[column] for one in classes.values() if one[column] is not None] for column in columns}
    mean = {column: float(np.mean(values)) if values else None for column, values in told.items()}
    return {"iou": AT, "classes": classes, "mean": mean}


def objects_of(loaded: LoadedPair, indices: Sequence[int]) -> dict[int, Objects]:
    """The objects of each class in a case."""
    scored = loaded.label != IGNORE_INDEX
    pred, label = loaded.pred * scored, loaded.label * scored
    own, true = _numbered(loaded.pair.pred, pred), _numbered(loaded.pair.label, label)
    scores = _scores(loaded.pair.pred) if own is not None else {}
    found = {}
    for index in indices:
        sides = [_of_class(*side, index) for side in ((pred, own), (label, true))]
        ids, iou = overlaps(*sides)
        found[index] = Objects(iou, np.array([scores.get(int(one), 1.0) for one in ids]))
    return found


def overlaps(pred: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the objects of a map, and their IoU with those of another, both 0 where there is none.

    Only pairs that meet are counted, so that memory does not grow with the number of objects times the image.

    Shape: pred and label of one shape -> (P,), (P, L).
    """
    (ids, own), (others, true) = (np.unique(side, return_inverse=True) for side in (pred, label))
    own, true = own.ravel(), true.ravel()
    shared = np.bincount(own * len(others) + true, minlength=len(ids) * len(others)).reshape(len(ids), len(others))
    sizes = shared.sum(1)[:, None] + shared.sum(0)[None] - shared
    iou = shared / np.maximum(sizes, 1)
    return ids[ids > 0], iou[ids > 0][:, others > 0]


def panoptic(cases: Sequence[Objects]) -> dict[str, Any]:
    """Panoptic quality of the objects of a class (Kirillov et al., 2019), and its parts.

    Shares of found objects (`rq`) and their mean IoU (`sq`) multiply to `pq`; None where there is no object at all.
    """
    found, false, missed, total = (sum(column) for column in zip(*(case.counts for case in cases), strict=True))
    weight = found + (false + missed) / 2
    quality: dict[str, float | None] = {"pq": None, "sq": None, "rq": None}
    if weight:
        quality = {"pq": total / weight, "sq": total / found if found else 0.0, "rq": found / weight}
    return {**quality, "found": int(found), "false": int(false), "missed": int(missed)}


def average_precision(found: Mapping[int, Sequence[Objects]]) -> dict[int, float | None] | None:
    """COCO's average precision at an IoU of .5, class by class over all cases; None without pycocotools.

    Args:
        found: of each class its objects, case by case.

    Returns:
        None for a class without any labelled object.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        return None

    class ByOverlap(COCOeval):  # type: ignore[misc]
        """COCO's evaluation, with the overlaps that are known already."""

        def computeIoU(self, image: int, category: int) -> Any:  # noqa: N802
            one = found[category][image - 1]
            return one.iou[np.argsort(-one.scores, kind="mergesort")] if one.iou.size else []

    images = range(1, 1 + max((len(cases) for cases in found.values()), default=0))
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for axis in (1, 0):  # labelled, predicted
            side = COCO()
            side.dataset = {
                "images": [{"id": image} for image in images],
                "categories": [{"id": category} for category in found],
                "annotations": list(_annotations(found, axis)),
            }
            side.createIndex()
            sides.append(side)
        run = ByOverlap(*sides, "bbox")
        run.params.iouThrs, run.params.areaRng, run.params.areaRngLbl = np.array([AT]), [[0, 1e10]], ["all"]
        run.params.maxDets = [max((len(case.scores) for cases in found.values() for case in cases), default=0) or 1]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][0, :, :, 0, 0]  # (recalls, classes), -1 where nothing is labelled
    return {
        category: None if (row < 0).all() else float(row.mean())
        for category, row in zip(run.params.catIds, precision.T, strict=True)
    }


def _annotations(found: Mapping[int, Sequence[Objects]], axis: int) -> Any:
    """Objects in COCO's form; only their number and scores are read."""
    number = 0
    for category, cases in found.items():
        for image, case in enumerate(cases, start=1):
            for place in range(case.iou.shape[axis]):
                number += 1
                score = {"score": float(case.scores[place])} if axis == 0 else {}
                box = {"bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0}
                yield {"id": number, "image_id": image, "category_id": category, **box, **score}


def _numbered(path: Path, label: np.ndarray) -> np.ndarray | None:
    """The map of objects that lies beside a label map; None where there is none."""
    stem = f"{stem_of(path)}{MAP}"
    there = sorted(
        one for one in path.parent.glob(f"{_escaped(stem)}.*") if one.suffix != ".csv" and stem_of(one) == stem
    )
    if not there:
        return None
    array = read_image(there[0]).array
    if array.shape != label.shape or array.dtype.kind not in "iu":
        raise ImageFileError(
            there[0], f"must hold whole numbers in the shape of {path.name}, {label.shape}, got {array.shape}."
        )
    return array


def _of_class(label: np.ndarray, numbered: np.ndarray | None, index: int) -> np.ndarray:
    """The objects of a class, numbered; its connected parts where no map tells them apart."""
    mask = label == index
    if numbered is not None:
        return np.where(mask, numbered, 0)
    parts: np.ndarray = ndimage.label(mask, np.ones((3,) * mask.ndim))[0]
    return parts


def _scores(path: Path) -> dict[int, float]:
    table = path.parent / f"{stem_of(path)}{TABLE}"
    return {int(row["id"]): float(row["score"]) for row in read_table(table)} if table.is_file() else {}


def _escaped(text: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)
