"""DICOM-SEG out: a label map as a segmentation object that points at the series it was drawn on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai import __version__
from amsam_monai.data.files.dicom.terms import term_of
from amsam_monai.data.files.loaded_image import ImageFileError, LoadedImage
from amsam_monai.data.files.palette import cielab, class_colours

# Attributes that may be empty but must be there (DICOM PS3.3, type 2), which some writers leave out.
MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)


NEEDED = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"),
    *("ImagePositionPatient", "PixelSpacing"),
)


def write_dicom_seg(path: Path, label: np.ndarray, source: LoadedImage, labels: Mapping[int, str]) -> None:
    """Write a label map as one DICOM-SEG file.

    Segments are numbered from 1 in the order of class indices, absent classes included.

    Args:
        path: file to write, as it is (no atomic replacement here).
        label: class indices in the source's voxel order.
        source: a DICOM series, read by `read_image`.
        labels: name of every class index above 0.

    Shape: label (I, J, K), K slices in the order of `source.members`.

    Raises:
        ImageFileError: the source is no DICOM series, or lacks what a segmentation must refer to.
    """
    series = source_datasets(source)
    import highdicom as hd  # after the check: it takes seconds to import
    from pydicom.uid import ExplicitVRLittleEndian

    frames = label[None] if source.kind == "image" else label.transpose(2, 1, 0)  # (I, J, K) -> (K, rows, columns)
    if source.frames and "NumberOfFrames" in series[0]:
        stored = np.zeros((int(series[0].NumberOfFrames), *frames.shape[1:]), frames.dtype)
        stored[source.frames] = frames  # one file's frames stay in its order, those of other moments empty
        frames = stored
    numbers = {index: number for number, index in enumerate(sorted(set(labels) - {0}), start=1)}
    numbered = np.zeros(frames.shape, dtype=np.uint8 if len(numbers) <= 255 else np.uint16)
    for index, number in numbers.items():
        numbered[frames == index] = number
    segmentation = segmentation_of(
        source,
        source_images=series,
        pixel_array=numbered,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[describe(number, labels[index], index) for index, number in numbers.items()],
        series_instance_uid=hd.UID(),
        series_number=1000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="amsam_monai",
        manufacturer_model_name="amsam_monai",
        software_versions=__version__,
        device_serial_number="0",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=bool(numbered.any()),
        series_description="amsam_monai segmentation",
    )
    segmentation.save_as(path)


def segmentation_of(source: LoadedImage, **contents: Any) -> Any:
    """highdicom's segmentation.

    Raises:
        ImageFileError: the series lacks something that a segmentation must say.
    """
    import highdicom as hd

    try:
        return hd.seg.Segmentation(**contents)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        problem = f"DICOM-SEG cannot refer to this series ({error})"
        raise ImageFileError(source.path, f"{problem}; write NIfTI instead.") from error


def source_datasets(source: LoadedImage) -> Sequence[Any]:
    """The series' headers in the order of its slices, complete enough to be referred to."""
    import pydicom

    if not source.members:
        raise ImageFileError(source.path, "DICOM-SEG needs a DICOM series as input; choose another ending.")
    datasets = [pydicom.dcmread(member, force=True) for member in source.members]
    for dataset, member in zip(datasets, source.members, strict=True):
        if missing := [name for name in NEEDED if not dataset.get(name) and "NumberOfFrames" not in dataset]:
            raise ImageFileError(member, f"DICOM-SEG needs {', '.join(missing)} in the series; write NIfTI instead.")
        for name in MAY_BE_EMPTY:
            if name not in dataset:
                setattr(dataset, name, None if name != "PatientName" else "")
        if not dataset.get("SliceThickness") and source.affine is not None:
            dataset.SliceThickness = float(np.linalg.norm(source.affine[:3, 2]))
    return datasets


def describe(number: int, name: str, index: int) -> Any:
    """Segment `number`, coded in SNOMED CT where the name is known, in the colour of its value."""
    import highdicom as hd
    from pydicom.sr.coding import Code

    term = term_of(name)
    algorithm = hd.AlgorithmIdentificationSequence(
        name="amsam_monai", version=__version__, family=Code("123109", "DCM", "Artificial Intelligence")
    )
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=term.category,
        segmented_property_type=term.type,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    if term.side is not None:
        side = hd.sr.CodedConcept(term.side.value, term.side.scheme_designator, term.side.meaning)
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    description.RecommendedDisplayCIELabValue = cielab(class_colours()[(index - 1) % 255 + 1])
    return description
