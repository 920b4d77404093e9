"""What the headers of DICOM files say: which are slices of a volume, which pictures, films, or no images at all."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amsam_monai.data.files.dicom.frames import MOMENTS, Frame, frames_of
from amsam_monai.data.files.loaded_image import ImageFileError

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
TOMOGRAPHY = ("CT", "MR", "PT", "NM")  # modalities whose single frames are slices, even where no position is given
WANTED = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "Modality", "ImageType"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation"),
    *("BitsStored", "BitsAllocated", "RescaleSlope", "RescaleIntercept"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "GridFrameOffsetVector", "DetectorInformationSequence", "FrameTime", "CineRate"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(name for name, _ in MOMENTS),
]
VALUE_KINDS = b"AE AS AT CS DA DS DT IS LO LT OB PN SH SL SQ SS ST TM UI UL UN US UT".split()


@dataclass(frozen=True)
class Header:
    """A DICOM file.

    Args:
        path: the file.
        kind: "slices" (of a volume), "picture" (a projection or photograph), "film" (frames without places),
            "segmentation", or "other" (no image).
        what: its storage class in words.
        series: series instance UID.
        description: of the series.
        frames: image planes, in the order of the file.
        bits: bits of a stored value, where they are fewer than the file's type has; None where values are rescaled.
        colour: whether a pixel is several numbers.
        inverted: of an image whose least value is shown white (MONOCHROME1), its least plus its greatest possible
            value, from which SimpleITK takes the others; None elsewhere.
        rescales: (slope, intercept) of every frame, where they differ within the file.
        notes: what a reader should know about the geometry.
    """

    path: Path
    kind: str
    what: str
    series: str
    description: str = ""
    frames: tuple[Frame, ...] = ()
    bits: int | None = None
    colour: bool = False
    inverted: float | None = None
    rescales: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = field(default=())


def is_dicom_file(path: Path) -> bool:
    """Whether the file has DICOM's mark after its preamble, or begins with a data set, as old archives wrote them."""
    try:
        with open(path, "rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or begins_with_data_set(start)


def begins_with_data_set(start: bytes) -> bool:
    """Whether bytes can be the first element of a DICOM file without preamble: group 2 or 8, a short value."""
    if len(start) < 12:
        return False
    group, element, length = struct.unpack("<HHI", start[:8])
    if group not in (2, 8) or element > 0x0100:
        return False
    return start[4:6] in VALUE_KINDS or length < 256


def is_dicom_segmentation(path: Path) -> bool:
    """Whether a DICOM file is a label map."""
    return read_header(path).kind == "segmentation"


def read_header(path: Path) -> Header:
    """The header of a DICOM file, with or without DICOM's mark.

    Raises:
        ImageFileError: it cannot be read, it has no image, or an attribute that must be a number is not one.
    """
    import pydicom

    try:
        dataset = pydicom.dcmread(path, specific_tags=WANTED, stop_before_pixels=True, force=is_dicom_file(path))
        storage = dataset.get("SOPClassUID", "")
    except Exception as error:  # pydicom raises all kinds on damaged bytes
        raise ImageFileError(path, "the file is damaged, truncated, empty or no DICOM; copy it again.") from error
    what, modality = getattr(storage, "name", str(storage)), str(dataset.get("Modality", ""))
    series, about = str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("SeriesDescription", ""))
    if storage in SEGMENTATIONS:
        return Header(path, "segmentation", what, series, about)
    if "Rows" not in dataset or "Columns" not in dataset:
        if storage and "Image Storage" not in what:
            return Header(path, "other", what, series, about)
        raise ImageFileError(path, "the file is damaged or truncated, it holds no image; copy it again.")
    refuse_mosaic(path, dataset)
    frames, rescales = frames_of(path, dataset)
    rescaled = len(rescales) > 1 or any(rescale != (1.0, 0.0) for rescale in rescales)
    return Header(
        path,
        kind_of(storage, modality, dataset, frames),
        f"{modality} ({what})" if what else modality,
        series,
        about,
        frames,
        None if rescaled else fewer_bits(dataset),
        int(dataset.get("SamplesPerPixel", 1) or 1) > 1,
        inversion(dataset, rescales[0]),
        rescales if len(set(rescales)) > 1 else (),
        notes_of(dataset, frames),
    )


def fewer_bits(dataset: Any) -> int | None:
    """See `Header.bits`; a file of 16 in 16 bits tells nothing of how many are used."""
    stored, held = int(dataset.get("BitsStored", 0) or 0), int(dataset.get("BitsAllocated", 0) or 0)
    return stored if 0 < stored < held and not dataset.get("PixelRepresentation") else None


def inversion(dataset: Any, rescale: tuple[float, float]) -> float | None:
    """See `Header.inverted`."""
    if dataset.get("PhotometricInterpretation") != "MONOCHROME1":
        return None
    ends = -1 if int(dataset.get("PixelRepresentation", 0) or 0) else 2 ** int(dataset.get("BitsStored", 16) or 16) - 1
    return ends * rescale[0] + 2 * rescale[1]


def kind_of(storage: str, modality: str, dataset: Any, frames: tuple[Frame, ...]) -> str:
    """See `Header`; doses lie beside the images that they were planned on, and count as none."""
    if modality == "RTDOSE":
        return "other"
    if int(dataset.get("SamplesPerPixel", 1) or 1) > 1:
        return "picture" if len(frames) == 1 else "film"
    if frames[0].position is not None:
        return "slices"
    if len(frames) == 1:
        return "slices" if modality in TOMOGRAPHY else "picture"
    stacked = "GridFrameOffsetVector" in dataset or "SpacingBetweenSlices" in dataset
    return "slices" if stacked and "FrameTime" not in dataset and "CineRate" not in dataset else "film"


def refuse_mosaic(path: Path, dataset: Any) -> None:
    """Refuse Siemens' mosaics, whose slices lie side by side in one frame."""
    kinds = dataset.get("ImageType") or []
    if "MOSAIC" in [str(kind).upper() for kind in ([kinds] if isinstance(kinds, str) else kinds)]:
        problem = "is a mosaic, whose slices lie as tiles in one frame"
        raise ImageFileError(path, f"{problem}; convert it to NIfTI (dcm2niix), or export it as enhanced DICOM.")


def notes_of(dataset: Any, frames: tuple[Frame, ...]) -> tuple[str, ...]:
    """What must be known of the spacing."""
    pitch = dataset.get("ImagerPixelSpacing")
    if frames[0].spacing is not None or not pitch:
        return ()
    size = " x ".join(f"{float(length):.4g}" for length in pitch)
    return (f"ImagerPixelSpacing, {size} mm, is the detector's and not the patient's: the spacing is unknown",)
