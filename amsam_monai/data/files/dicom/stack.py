"""Image planes as one volume: sorted, complete, at one moment, with the affine that their positions give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amsam_monai.data.files.dicom.frames import MOMENTS, Frame
from amsam_monai.data.files.loaded_image import ImageFileError

SAME_PLACE = 0.01  # mm
SAME_DIRECTION = 1e-3
UNEVEN = 0.1  # how far a slice may lie from its even place, in slice distances
LISTED = 5

Pixels = Callable[[Frame], np.ndarray]


@dataclass(frozen=True)
class Stack:
    """Frames in the order of the last axis.

    Args:
        frames: first to last.
        affine: voxel index (column, row, slice) to LPS millimetres; lengths are 1 where they are unknown.
        spacing_mm: None where a length is unknown.
        notes: what was passed over or chosen.
    """

    frames: tuple[Frame, ...]
    affine: np.ndarray | None
    spacing_mm: tuple[float, ...] | None
    notes: tuple[str, ...] = ()


def stack(path: Path, frames: Sequence[Frame], pixels: Pixels, phase: int | None = None) -> Stack:
    """One volume out of the planes of a series.

    Args:
        path: of the series, for messages.
        frames: planes in any order.
        pixels: reads a plane, where two claim one place.
        phase: which of several images at each place, from 1.

    Raises:
        ImageFileError: the planes form no single volume; the message says what they are instead.
    """
    check_one_grid(path, frames)
    if any(frame.position is None or frame.orientation is None for frame in frames):
        return without_places(path, frames)
    notes: list[str] = []
    places = [drop_copies(place, pixels, notes) for place in by_place(frames)]
    chosen = choose_moment(path, places, phase, notes)
    affine, spacing = geometry(path, chosen)
    return Stack(tuple(chosen), affine, spacing, tuple(notes))


def check_one_grid(path: Path, frames: Sequence[Frame]) -> None:
    """Refuse planes of several sizes, spacings or orientations."""
    kinds: list[tuple[Frame, list[Frame]]] = []
    for frame in frames:
        same = next((group for first, group in kinds if one_grid(first, frame)), None)
        if same is None:
            kinds.append((frame, [frame]))
        else:
            same.append(frame)
    if len(kinds) > 1:
        shown = "; ".join(f"{len(group)} {grid_words(first)}" for first, group in kinds[:LISTED])
        more = "" if len(kinds) <= LISTED else f" and {len(kinds) - LISTED} more"
        raise ImageFileError(
            path, f"must hold one stack of slices, got {len(kinds)} ({shown}{more}); put each into a folder of its own."
        )


def one_grid(first: Frame, other: Frame) -> bool:
    """Whether two planes have one size, spacing and orientation."""
    pairs = ((first.spacing, other.spacing), (first.orientation, other.orientation))
    if first.size != other.size or any((one is None) != (two is None) for one, two in pairs):
        return False
    return all(one is None or two is None or np.allclose(one, two, atol=SAME_DIRECTION, rtol=0) for one, two in pairs)


def grid_words(frame: Frame) -> str:
    """Size, spacing and orientation of a plane in words."""
    words = [f"of {frame.size[0]} x {frame.size[1]}"]
    if frame.spacing is not None:
        words.append(f"spacing {frame.spacing[0]:.4g} x {frame.spacing[1]:.4g}")
    if frame.orientation is not None:
        words.append("orientation " + " ".join(f"{value:.3g}" for value in frame.orientation))
    return ", ".join(words)


def without_places(path: Path, frames: Sequence[Frame]) -> Stack:
    """Slices that say no position, in the order of their numbers, without geometry."""
    numbers = [frame.moment.get("InstanceNumber", frame.number) for frame in frames]
    one_file = len({frame.path for frame in frames}) == 1
    if len(frames) > 1 and not one_file and len(set(numbers)) < len(frames):
        raise ImageFileError(path, "slices must have ImagePositionPatient or different numbers; export them again.")
    order = (frame.number for frame in frames) if one_file else (float(number) for number in numbers)
    chosen = [frame for _, frame in sorted(zip(order, frames, strict=True), key=lambda pair: pair[0])]
    return Stack(tuple(chosen), None, None, ("no slice positions: the spacing is unknown",))


def by_place(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Planes gathered by position, from the first place along the slices' normal to the last."""
    along = np.cross(frames[0].orientation[:3], frames[0].orientation[3:])  # type: ignore[index]
    heights = {id(frame): float(np.dot(along, frame.position)) for frame in frames}  # type: ignore[arg-type]
    places: list[list[Frame]] = []
    for frame in sorted(frames, key=lambda one: heights[id(one)]):
        if places and np.linalg.norm(np.subtract(frame.position, places[-1][0].position)) < SAME_PLACE:  # type: ignore[arg-type]
            places[-1].append(frame)
        else:
            places.append([frame])
    return places


def drop_copies(place: list[Frame], pixels: Pixels, notes: list[str]) -> list[Frame]:
    """Planes of one place without files that are there twice under two names."""
    kept: list[Frame] = []
    for frame in sorted(place, key=lambda one: (str(one.path), one.number)):
        twin = next((one for one in kept if (one.uid, one.number) == (frame.uid, frame.number)), None)
        if twin is not None and np.array_equal(pixels(twin), pixels(frame)):
            notes.append(f"{frame.path.name} is a copy of {twin.path.name}: passed over")
        else:
            kept.append(frame)
    return kept


def choose_moment(path: Path, places: list[list[Frame]], phase: int | None, notes: list[str]) -> list[Frame]:
    """One plane of each place; where places hold several, the `phase`-th of each."""
    counts = Counter(len(place) for place in places)
    if len(counts) > 1:
        raise ImageFileError(path, uneven_counts(places, counts))
    moments = len(places[0])
    if moments == 1:
        return [place[0] for place in places]
    name, words = telling(places)
    if phase is None:
        raise ImageFileError(path, f"is {words.format(moments)}: choose one with --phase, 1 to {moments}.")
    if not 1 <= phase <= moments:
        raise ImageFileError(path, f"phase must lie in 1 to {moments}, got {phase}.")
    notes.append(f"{words.format(moments)}: number {phase} by {name}")
    return [sorted(place, key=lambda frame: sort_key(frame, name))[phase - 1] for place in places]


def sort_key(frame: Frame, name: str) -> tuple[float, str, str, int]:
    """Order of moments: numbers by size, others by spelling."""
    value = frame.moment.get(name, 0.0)
    number, text = (value, "") if isinstance(value, float) else (0.0, str(value))
    return number, text, str(frame.path), frame.number


def telling(places: list[list[Frame]]) -> tuple[str, str]:
    """The attribute that tells the planes of every place apart, and what it makes of the series."""
    for name, words in MOMENTS:
        if all(len({frame.moment.get(name) for frame in place}) == len(place) for place in places):
            return name, words
    return "file", "{} images at each place"


def uneven_counts(places: list[list[Frame]], counts: Counter[int]) -> str:
    """Why places with different numbers of planes are no volume."""
    usual = counts.most_common(1)[0][0]
    odd = next(place for place in places if len(place) != usual)
    names = ", ".join(frame.path.name for frame in odd[:LISTED])
    if usual == 1:
        return f"must hold every slice once, got {len(odd)} at one place ({names}); remove what is there twice."
    return f"must hold {usual} images at every place, got {len(odd)} at the place of {names}; fetch the series again."


def geometry(path: Path, frames: list[Frame]) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """The affine (LPS) that first and last position give, sheared where slices do not follow their normal."""
    first = frames[0]
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])  # type: ignore[index]
    step, known = np.cross(row, column) * (first.thickness or 1.0), first.thickness is not None
    if len(frames) > 1:
        positions = np.array([frame.position for frame in frames])
        step, known = (positions[-1] - positions[0]) / (len(frames) - 1), True
        check_even(path, positions, step)
    affine = np.eye(4)
    affine[:3, 3] = first.position
    if first.spacing is None or not known:
        affine[:3, :3] = np.column_stack([row, column, step / np.linalg.norm(step)])
        return affine, None
    between_rows, between_columns = first.spacing
    affine[:3, :3] = np.column_stack([row * between_columns, column * between_rows, step])
    return affine, tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))


def check_even(path: Path, positions: np.ndarray, step: np.ndarray) -> None:
    """Refuse slices that do not lie at equal distances on one line, since one affine could not describe them."""
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    even = positions[0] + np.arange(len(positions))[:, None] * step
    if gaps.max() > 1.5 * gaps.min():
        problem = f"slices must lie at equal distances, got gaps from {gaps.min():.3g} to {gaps.max():.3g} mm"
        raise ImageFileError(path, f"{problem}; slices are missing: fetch the series again.")
    off = float(np.linalg.norm(positions - even, axis=1).max())
    if off > max(UNEVEN * float(np.linalg.norm(step)), SAME_PLACE):
        problem = f"slices must lie at equal distances on a line, got one {off:.3g} mm beside its place"
        raise ImageFileError(path, f"{problem}; resample the series to even slices first.")
