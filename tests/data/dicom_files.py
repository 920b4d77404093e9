"""DICOM files written by hand, so that a test can break one thing at a time."""

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

STORAGE = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "DX": "1.2.840.10008.5.1.4.1.1.1.1"}
STORAGE |= {"RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3", "US": "1.2.840.10008.5.1.4.1.1.3.1"}
ROOT = "1.2.826.0.1.3680043.8.498"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def write_slice(
    path, pixels, *, z=0.0, number=1, modality="CT", series=f"{ROOT}.2", position=True, orientation=AXIAL, **attributes
):
    """One file; an attribute that is None is left out.

    Args:
        pixels: (rows, columns), unsigned integers.
        z: third coordinate of its position, or the whole position.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = STORAGE[modality], ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = attributes.pop("uid", f"{series}.{number}")
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    place = list(z) if isinstance(z, tuple) else [-50.0, -60.0, z]
    standard = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": f"{ROOT}.1",
        "SeriesInstanceUID": series,
        "FrameOfReferenceUID": f"{ROOT}.3",
        "Modality": modality,
        "PatientID": "phantom",
        "InstanceNumber": number,
        "ImagePositionPatient": place if position else None,
        "ImageOrientationPatient": list(orientation) if position else None,
        "PixelSpacing": [1.5, 1.5],
        "SliceThickness": 5.0,
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "NumberOfFrames": pixels.shape[0] if pixels.ndim == 3 else None,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": 8 * pixels.dtype.itemsize,
        "HighBit": 8 * pixels.dtype.itemsize - 1,
        "PixelRepresentation": 0,
        "PixelData": np.ascontiguousarray(pixels).tobytes(),
    }
    for name, value in {**standard, **attributes}.items():
        if value is not None:
            setattr(dataset, name, value)
    if "BitsStored" in attributes:
        dataset.HighBit = attributes["BitsStored"] - 1
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_stack(folder, count=4, *, step=5.0, start=0, base=100, **attributes):
    """A series of `count` slices 5 mm apart; slice k holds base + k, and a brighter corner."""
    for k in range(count):
        pixels = np.full((8, 6), base + k, np.uint16)
        pixels[:3, :2] += 50
        write_slice(folder / f"{start + k:03}.dcm", pixels, z=step * k, number=start + k + 1, **attributes)
    return folder


def without_mark(path):
    """Take preamble, mark and file meta information away, as old archives wrote files."""
    data = path.read_bytes()
    length = int.from_bytes(data[140:144], "little")
    path.write_bytes(data[144 + length :])
