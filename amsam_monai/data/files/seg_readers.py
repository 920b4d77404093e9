"""3D Slicer's .seg.nrrd and DICOM-SEG: label files that name their classes themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.classes import HIGHEST_VALUE
from amsam_monai.data.files.limits import check_voxels
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage, check_affine, spacing_of
from amsam_monai.data.files.readers import LPS_TO_RAS, from_itk, itk_affine, open_itk
from amsam_monai.data.files.segments import Segments

SAME_PLACE = 0.01  # mm


def read_itk_label(path: Path, *, alone: bool = False) -> LoadedImage:
    """A NRRD or MetaImage label map, with its segments where it is 3D Slicer's."""
    import SimpleITK as sitk  # noqa: N813

    reader = open_itk(path, alone=alone)
    facts = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    if "Segment0_Name" not in facts and "Segment0_ID" not in facts:
        return from_itk(reader.Execute(), path, "itk")
    image = reader.Execute()
    array = sitk.GetArrayFromImage(image)  # (k, j, i), or (k, j, i, layers)
    stored = array.transpose(2, 1, 0, 3) if array.ndim == 4 else array.transpose(2, 1, 0)[..., None]
    affine = check_affine(path, itk_affine(image))
    segments = slicer_segments(path, facts, stored)
    loaded = LoadedImage(segments.layers[0], "volume", path, "itk", affine, spacing_of(affine))
    loaded.segments = segments
    return loaded


def slicer_segments(path: Path, facts: dict[str, str], stored: np.ndarray) -> Segments:
    """Segments of a .seg.nrrd, by their value where there is one layer, else numbered in their order.

    Shape: stored (I, J, K, layers)
    """
    count = sum(1 for key in facts if key.startswith("Segment") and key.endswith("_LabelValue")) or 1
    names: dict[int, str] = {}
    layers = [np.zeros(stored.shape[:3], np.uint16) for _ in range(stored.shape[3])]
    for place in range(count):
        value, layer = int(facts.get(f"Segment{place}_LabelValue", 1)), int(facts.get(f"Segment{place}_Layer", 0))
        if not 0 <= layer < len(layers):
            raise ImageFileError(path, f"segment {place} must lie in one of {len(layers)} layers, got layer {layer}.")
        number = value if len(layers) == 1 else place + 1
        if number in names or not 0 < number <= HIGHEST_VALUE:
            problem = f"segments must have values 1 to {HIGHEST_VALUE}, each its own, got {number} twice or beyond."
            raise ImageFileError(path, problem)
        names[number] = facts.get(f"Segment{place}_Name") or f"Segment_{place + 1}"
        layers[layer][stored[..., layer] == value] = number
    known = sum(np.count_nonzero(layer) for layer in layers)
    if known < np.count_nonzero(stored):
        raise ImageFileError(path, f"holds values that none of its segments has ({', '.join(names.values())}).")
    return Segments(names, tuple(layer.astype(smallest(names)) for layer in layers))


def read_dicom_seg(path: Path) -> LoadedImage:
    """A DICOM segmentation on a grid of its own frames, with its segments.

    Raises:
        ImageFileError: it is no DICOM-SEG, or its frames do not lie on one grid.
    """
    import pydicom

    dataset = pydicom.dcmread(path, force=True)
    if "SegmentSequence" not in dataset:
        raise ImageFileError(path, "a DICOM label must be a segmentation (DICOM-SEG), got an image.")
    shared, per_frame = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence
    check_voxels(path, (dataset.Columns, dataset.Rows, max(len(per_frame), int(dataset.get("NumberOfFrames", 1) or 1))))
    frames = np.asarray(dataset.pixel_array).reshape(len(per_frame), dataset.Rows, dataset.Columns)
    names = {int(one.SegmentNumber): str(one.get("SegmentLabel", "")) for one in dataset.SegmentSequence}
    kind = str(dataset.get("SegmentationType", "BINARY"))
    if kind == "FRACTIONAL":
        frames = frames >= max(1, round(int(dataset.get("MaximumFractionalValue", 255)) / 2))
    positions = [np.array(group(one, shared, "PlanePositionSequence").ImagePositionPatient, float) for one in per_frame]
    turns = [group(one, shared, "PlaneOrientationSequence").ImageOrientationPatient for one in per_frame]
    if np.ptp(np.array(turns, float), axis=0).max() > 1e-3:
        raise ImageFileError(path, "frames must have one orientation; split the segmentation.")
    measures = group(per_frame[0], shared, "PixelMeasuresSequence")
    turn = np.array(turns[0], float)
    affine, places = grid_of(path, positions, turn, measures)
    dtype = smallest(names)
    check_voxels(path, (dataset.Columns, dataset.Rows, max(places) + 1))
    layers = [np.zeros((dataset.Columns, dataset.Rows, max(places) + 1), dtype)]
    for frame, place, one in zip(frames, places, per_frame, strict=True):
        numbers = frame.astype(dtype) * dtype.type(1 if kind == "LABELMAP" else segment_number(one, shared))
        paint(path, layers, place, numbers.T)
    affine = check_affine(path, LPS_TO_RAS @ affine)
    loaded = LoadedImage(layers[0], "volume", path, "dicom", affine, spacing_of(affine))
    loaded.segments = Segments({number: name for number, name in names.items() if number}, tuple(layers))
    return loaded


def smallest(names: Mapping[int, str]) -> np.dtype:
    """The voxel type that holds the numbers of all segments."""
    return np.dtype(np.uint8 if max(names, default=0) <= 255 else np.uint16)


def group(frame: Any, shared: Any, name: str) -> Any:
    """A functional group of a frame, or the shared one."""
    return (frame.get(name) or shared.get(name))[0]


def segment_number(frame: Any, shared: Any) -> int:
    """Which segment a frame shows."""
    return int(group(frame, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)


def paint(path: Path, layers: list[np.ndarray], place: int, numbers: np.ndarray) -> None:
    """Put a frame's numbers into the first layer where nothing is below them; a new one where there is none."""
    inside = numbers > 0
    for layer in layers:
        plane = layer[..., place]
        if not (plane[inside] > 0).any():
            plane[inside] = numbers[inside]
            return
    check_voxels(path, (*layers[0].shape, len(layers) + 1))
    layers.append(np.zeros_like(layers[0]))
    layers[-1][..., place] = numbers


def grid_of(path: Path, positions: list[np.ndarray], turn: np.ndarray, measures: Any) -> tuple[np.ndarray, list[int]]:
    """The affine (LPS) that holds all frames, and the slice of each; slices that nothing covers lie between them."""
    across = np.cross(turn[:3], turn[3:])
    heights = np.array([position @ across for position in positions])
    order = np.unique(np.round(heights / SAME_PLACE).astype(int)) * SAME_PLACE
    thickness = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0)
    first, last = positions[int(np.argmin(heights))], positions[int(np.argmax(heights))]
    step = across * thickness
    if len(order) > 1:
        gap = float(np.diff(order).min())
        step = (last - first) / max(1, round((heights.max() - heights.min()) / gap))
    places = np.rint((heights - heights.min()) / (step @ across)).astype(int)
    off = np.array(positions) - (first + places[:, None] * step)
    if np.linalg.norm(off, axis=1).max() > 0.1 * np.linalg.norm(step):
        raise ImageFileError(path, "frames must lie at even distances; segment the series again.")
    between_rows, between_columns = (float(length) for length in measures.PixelSpacing)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([turn[:3] * between_columns, turn[3:] * between_rows, step])
    affine[:3, 3] = first
    return affine, [int(place) for place in places]
