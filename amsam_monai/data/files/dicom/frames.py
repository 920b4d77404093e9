"""The image planes of a DICOM file: where each lies, and what tells it from others at its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.files.loaded_image import ImageFileError

# What tells the images at one place apart, in the order of how much it says, and a word for them.
MOMENTS = (
    ("TemporalPositionIdentifier", "a time series of {} phases"),
    ("TemporalPositionIndex", "a time series of {} phases"),
    ("TriggerTime", "a time series of {} phases"),
    ("NominalCardiacTriggerDelayTime", "a time series of {} phases"),
    ("EchoTime", "{} echoes"),
    ("EffectiveEchoTime", "{} echoes"),
    ("DiffusionBValue", "{} diffusion weightings"),
    ("AcquisitionNumber", "{} acquisitions"),
    ("AcquisitionTime", "a time series of {} phases"),
    ("ContentTime", "a time series of {} phases"),
    ("InstanceNumber", "{} images at each place"),
)


@dataclass(frozen=True)
class Frame:
    """One image plane.

    Args:
        path: its file.
        number: its place in the file, from 0.
        size: (rows, columns).
        position: of the first pixel's centre, LPS millimetres; None where the file does not say.
        orientation: direction of a row, then of a column.
        spacing: millimetres between rows, then between columns.
        thickness: of the slice, millimetres.
        moment: what may tell it from other images at its place, by attribute.
        uid: of the file's instance.
    """

    path: Path
    number: int
    size: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    moment: Mapping[str, float | str]
    uid: str


def frames_of(path: Path, dataset: Any) -> tuple[tuple[Frame, ...], tuple[tuple[float, float], ...]]:
    """The image planes of a file, and slope and intercept of each."""
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    if not 1 <= count <= path.stat().st_size:
        raise ImageFileError(path, f"declares {count} frames, not as many as it holds; it is damaged or truncated.")
    shared = groups_of(dataset, "SharedFunctionalGroupsSequence")
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if per_frame and len(per_frame) != count:
        raise ImageFileError(path, f"must describe its {count} frames, got {len(per_frame)}; export it again.")
    frames, rescales = [], []
    for number in range(count):
        sources = [per_frame[number], shared] if per_frame else []
        frame, rescale = frame_of(path, number, dataset, [source for source in sources if source is not None])
        frames.append(frame)
        rescales.append(rescale)
    if not per_frame and count > 1:
        frames = lay_out(path, dataset, frames)
    return tuple(frames), tuple(rescales)


def groups_of(dataset: Any, name: str) -> Any:
    """The only item of a sequence, or None."""
    items = dataset.get(name) or []
    return items[0] if len(items) else None


def frame_of(path: Path, number: int, dataset: Any, groups: list[Any]) -> tuple[Frame, tuple[float, float]]:
    """One plane, from its functional groups where the file has them, else from the file itself."""

    def numbers(name: str, sequence: str, count: int) -> tuple[float, ...] | None:
        holders = [groups_of(group, sequence) for group in groups] + [dataset]
        return next((found for one in holders if (found := values_of(path, one, name, count)) is not None), None)

    detector = groups_of(dataset, "DetectorInformationSequence")  # where nuclear medicine has its first plane
    position = numbers("ImagePositionPatient", "PlanePositionSequence", 3)
    orientation = numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6)
    if detector is not None and position is None:
        position = values_of(path, detector, "ImagePositionPatient", 3)
        orientation = orientation or values_of(path, detector, "ImageOrientationPatient", 6)
    thickness = numbers("SliceThickness", "PixelMeasuresSequence", 1)
    thickness = thickness or numbers("SpacingBetweenSlices", "PixelMeasuresSequence", 1)
    slope = numbers("RescaleSlope", "PixelValueTransformationSequence", 1) or (1.0,)
    intercept = numbers("RescaleIntercept", "PixelValueTransformationSequence", 1) or (0.0,)
    spacing = numbers("PixelSpacing", "PixelMeasuresSequence", 2)
    frame = Frame(
        path,
        number,
        (int(dataset.Rows), int(dataset.Columns)),
        position,
        orientation,
        None if spacing is None or min(spacing) <= 0 else spacing,
        abs(thickness[0]) or None if thickness else None,
        moment_of([*groups, dataset]),
        str(dataset.get("SOPInstanceUID", "")),
    )
    return frame, (slope[0], intercept[0])


def values_of(path: Path, holder: Any, name: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers of an attribute; None where it is missing or empty."""
    value = None if holder is None else holder.get(name)
    if value is None or value == "" or (not isinstance(value, (int, float)) and len(value) == 0):
        return None
    try:
        found = tuple(float(one) for one in np.atleast_1d(value))
    except (TypeError, ValueError):
        found = ()
    if len(found) != count or not np.isfinite(found).all():
        raise ImageFileError(path, f"{name} must be {count} finite numbers, got {value}; repair or export it again.")
    return found


def moment_of(holders: list[Any]) -> dict[str, float | str]:
    """Attributes of MOMENTS, wherever in the functional groups they stand."""
    found: dict[str, float | str] = {}
    for holder in holders:
        inner = [item for element in holder if element.VR == "SQ" for item in element.value[:1]]
        for place in [holder, *(inner if holder is not holders[-1] else [])]:
            for name, _ in MOMENTS:
                value = place.get(name)
                if value in (None, "") or name in found:
                    continue
                try:
                    found[name] = float(value)
                except (TypeError, ValueError):
                    found[name] = str(value)
    return found


def lay_out(path: Path, dataset: Any, frames: list[Frame]) -> list[Frame]:
    """Places for the frames of a file that has one position and says how far they lie apart."""
    first = frames[0]
    if first.position is None or first.orientation is None:
        return frames
    offsets = values_of(path, dataset, "GridFrameOffsetVector", len(frames))
    step = values_of(path, dataset, "SpacingBetweenSlices", 1) or ((first.thickness,) if first.thickness else None)
    if offsets is None and step is None:
        return [replace(frame, position=None) for frame in frames]
    along = offsets if offsets is not None else [number * step[0] for number in range(len(frames))]  # type: ignore[index]
    across = np.cross(first.orientation[:3], first.orientation[3:])
    places = [tuple((np.array(first.position) + (offset - along[0]) * across).tolist()) for offset in along]
    return [replace(frame, position=place) for frame, place in zip(frames, places, strict=True)]
