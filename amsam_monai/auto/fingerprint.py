"""What labelled cases are like: sizes, values, and how large and how many the objects of each class are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from amsam_monai.data.slices import SliceView
from amsam_monai.keys import CASE_ID, IGNORE_INDEX, IMAGE, LABEL, PATIENT_ID

SLICES = 16  # of a volume, at most, in which objects are measured
VALUES = 20_000  # of a case, at most, from which percentiles are taken
PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class ClassFacts:
    """The objects of a class.

    Args:
        cases: how many have it.
        slices: share of a volume's slices that have it, mean over those cases; 1 for pictures.
        share: of a slice's area where it is there, median.
        thickness: about how thick its parts are, as a share of the slice's longest side, median.
        objects: connected parts in a slice, mean.
    """

    cases: int
    slices: float
    share: float
    thickness: float
    objects: float


@dataclass(frozen=True)
class Fingerprint:
    """What labelled cases are like.

    Args:
        kind: "picture" or "volume".
        cases: how many.
        patients: of how many patients.
        colour: whether pictures have three different channels.
        longest: longest side of the slices or pictures, in pixels, median.
        depth: slices of a volume, median; 1 for pictures.
        spacing_mm: median along (slices, rows, columns); None where a volume does not tell.
        values: least and greatest value of all cases.
        labelled: 0.5th and 99.5th percentile of the values inside the labels.
        classes: by name.
        plane: that the slices of all volumes lie in; empty where they differ or no volume tells.
    """

    kind: str
    cases: int
    patients: int
    colour: bool
    longest: int
    depth: int
    spacing_mm: tuple[float, float, float] | None
    values: tuple[float, float]
    labelled: tuple[float, float]
    classes: dict[str, ClassFacts] = field(default_factory=dict)
    plane: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass
class _Seen:
    """What was seen in one case."""

    shape: tuple[int, ...]
    depth: int
    colour: bool
    spacing: tuple[float, float, float] | None
    values: tuple[float, float]
    inside: np.ndarray
    plane: str
    classes: dict[str, list[tuple[float, float, int]]]  # of each slice that has it: share, thickness, objects


def fingerprint(cases: Iterable[Mapping[Any, Any]], classes: Sequence[str], *, volumes: bool) -> Fingerprint:
    """Look at labelled cases, one at a time.

    Args:
        cases: samples of "image" (C, H, W) or (1, I, J, K) as stored, "label" of class indices, and ids; see
            `LoadCased`.
        classes: names, in the order of the indices from 1.
        volumes: whether the cases are volumes.

    Raises:
        ValueError: no case, no labelled pixel in any, or pictures among volumes.
    """
    seen, patients = [], set()
    for case in cases:
        seen.append(_look(case, classes, volumes))
        patients.add(case.get(PATIENT_ID, case.get(CASE_ID)))
    if not seen:
        raise ValueError("there must be labelled cases to look at, got none.")
    inside = np.concatenate([one.inside for one in seen])
    if not inside.size:
        raise ValueError(f"labels must hold at least one of {', '.join(classes)}, got none in {len(seen)} cases.")
    planes = {one.plane for one in seen} - {""}
    spacings = [one.spacing for one in seen if one.spacing is not None]
    low, high = np.percentile(inside, PERCENTILES)
    return Fingerprint(
        kind="volume" if volumes else "picture",
        cases=len(seen),
        patients=len(patients),
        colour=any(one.colour for one in seen),
        longest=int(np.median([max(one.shape) for one in seen])),
        depth=int(np.median([one.depth for one in seen])),
        spacing_mm=_triple(np.median(spacings, axis=0)) if spacings else None,
        values=(min(one.values[0] for one in seen), max(one.values[1] for one in seen)),
        labelled=(float(low), float(high)),
        plane=planes.pop() if len(planes) == 1 else "",
        classes={name: _facts(name, seen) for name in classes},
    )


def _look(case: Mapping[Any, Any], classes: Sequence[str], volumes: bool) -> _Seen:
    image, label = np.asarray(case[IMAGE]), np.asarray(case[LABEL])[0]
    if (label.ndim == 3) != volumes:
        raise ValueError(
            f"cases must all be pictures or all be volumes, got {'a picture' if volumes else 'a volume'} in "
            f"{case.get(CASE_ID)}; train on them apart, with --ids or a folder for each."
        )
    spacing, plane, depth, colour = None, "", 1, False
    if volumes:
        known = case[IMAGE].meta.get("spacing_mm") is not None
        affine = np.asarray(case[IMAGE].affine, dtype=np.float64) if known else None
        view = SliceView.of(label.shape, affine)
        slices, depth = view.see(label), view.depth
        if affine is not None:
            steps = np.linalg.norm(affine[:3, :3], axis=0)
            spacing = _triple([steps[axis] for axis in view.axes])
            plane = view.plane_of(affine)
        values = image[0]
    else:
        slices = label[None]
        values = image[:3].mean(0)
        colour = image.shape[0] >= 3 and bool((image[0] != image[1]).any())
    there = (label > 0) & (label != IGNORE_INDEX)
    inside = values[there]
    return _Seen(
        shape=slices.shape[1:],
        depth=depth,
        colour=colour,
        spacing=spacing,
        values=(float(image.min()), float(image.max())),
        inside=inside[:: max(1, len(inside) // VALUES)].astype(np.float64),
        plane=plane,
        classes={name: list(_objects(slices, index)) for index, name in enumerate(classes, 1)},
    )


def _objects(slices: np.ndarray, index: int) -> Iterator[tuple[float, float, int]]:
    """Share, thickness and number of parts of a class in up to SLICES of the slices that have it."""
    having = np.flatnonzero((slices == index).any(axis=(1, 2)))
    for place in having[:: max(1, -(-len(having) // SLICES))]:
        mask = slices[place] == index
        inner = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        thickness = 4 * float(inner[mask].mean()) / max(mask.shape)  # of a strip its width
        _, count = ndimage.label(mask, np.ones((3, 3)))
        yield float(mask.mean()), thickness, int(count)


def _facts(name: str, seen: Sequence[_Seen]) -> ClassFacts:
    found = [one.classes[name] for one in seen if one.classes[name]]
    every = [row for rows in found for row in rows]
    if not every:
        return ClassFacts(0, 0.0, 0.0, 0.0, 0.0)
    shares, thickness, objects = (np.array(column, dtype=float) for column in zip(*every, strict=True))
    slices = [min(1.0, len(one.classes[name]) / min(one.depth, SLICES)) for one in seen if one.classes[name]]
    return ClassFacts(
        cases=len(found),
        slices=round(float(np.mean(slices)), 4),
        share=round(float(np.median(shares)), 6),
        thickness=round(float(np.median(thickness)), 5),
        objects=round(float(np.mean(objects)), 2),
    )


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    first, second, third = (round(float(value), 5) for value in values)
    return first, second, third
