"""Files that declare or unpack to more than there is are refused in a process that has next to no memory."""

import gzip
import io
import re
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from amsam_monai.data.files.images import ImageFileError, read_image
from tests.data.dicom_files import write_slice
from tests.faults.children import FORK, answer_of, with_little_memory

pytestmark = [
    pytest.mark.skipif(FORK is None or not Path("/proc/self/statm").exists(), reason="needs Linux"),
    pytest.mark.usefixtures("one_thread"),
]

LITTLE = 128 * 2**20


def declare_nifti(path):
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 3000))
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        header.write_to(file)
        file.write(b"\0" * 12)


def declare_npz(path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (60000, 60000)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", head.getvalue() + bytes(2**20))


def declare_h5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("image", (3000, 2000, 2000), "f8", chunks=(1, 2000, 2000), compression="gzip")


def declare_png(path):
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(2**20))))
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def declare_nrrd(path):
    head = "NRRD0004\ntype: double\ndimension: 3\nsizes: 2000 2000 3000\nencoding: gzip\nendian: little\n\n"
    path.write_bytes(head.encode() + gzip.compress(bytes(2**20)))


def declare_mha(path):
    head = "NDims = 3\nDimSize = 2000 2000 3000\nElementType = MET_DOUBLE\n"
    head += "CompressedData = True\nElementDataFile = LOCAL\n"
    path.write_bytes(head.encode() + zlib.compress(bytes(2**20)))


def declare_tif(path):
    wide, eight, one = (4, 1, 60000), (3, 1, 8), (3, 1, 1)
    tags = {256: wide, 257: wide, 258: eight, 259: one, 262: one, 273: (4, 1, 8), 277: one, 278: wide, 279: (4, 1, 8)}
    listed = b"".join(struct.pack("<HHII", tag, *value) for tag, value in tags.items())
    path.write_bytes(struct.pack("<2sHI8xH", b"II", 42, 16, len(tags)) + listed + bytes(4))


def declare_bmp(path):
    head = struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
    path.write_bytes(struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + head + bytes(100))


def declare_jpg(path):
    Image.new("RGB", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"\xff\xc0") + 5  # of height and width
    data[place : place + 4] = struct.pack(">HH", 65000, 65000)
    path.write_bytes(data)


def declare_dcm(path):
    write_slice(path, np.zeros((4, 4), np.uint16), Rows=60000, Columns=60000)


WRITERS = {"nii": declare_nifti, "nii.gz": declare_nifti, "npz": declare_npz, "h5": declare_h5, "png": declare_png}
WRITERS |= {"nrrd": declare_nrrd, "mha": declare_mha, "tif": declare_tif, "bmp": declare_bmp, "jpg": declare_jpg}
WRITERS |= {"dcm": declare_dcm}


@pytest.mark.parametrize("ending", WRITERS)
def test_a_limit_is_named_before_anything_is_allocated(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    WRITERS[ending](path)
    read_image_once(tmp_path)
    error = answer_of(with_little_memory, LITTLE, read_image, path)
    assert isinstance(error, ValueError), error
    assert re.search(r"must have at most \d+ (voxels|pixels)", str(error))


def read_image_once(folder):
    """Libraries are loaded before memory gets scarce."""
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), folder / "small.nii")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 2, 2), np.int16)), str(folder / "small.nrrd"))
    write_slice(folder / "small.dcm", np.zeros((2, 2), np.uint16))
    assert read_image(folder / "small.dcm").spatial_shape[:2] == (2, 2)
    for name in ("small.nii", "small.nrrd"):
        assert read_image(folder / name).array.shape == (2, 2, 2)


@pytest.mark.parametrize("name", [b"tEXt", b"sBIT"])
def test_a_part_of_a_png_that_claims_to_be_endless_is_not_allocated(name, tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (4, 4), 7).save(path)
    data = path.read_bytes()
    place = 33 if name == b"sBIT" else data.index(b"IEND") - 4
    path.write_bytes(data[:place] + struct.pack(">I4s", 2**32 - 1, name) + b"\x08" + data[place:])
    Image.new("L", (4, 4), 7).save(tmp_path / "small.png")
    assert read_image(tmp_path / "small.png").array.max() == 7
    answer = answer_of(with_little_memory, LITTLE, read_image, path)
    assert isinstance(answer, ImageFileError) or answer.array.max() == 7, answer
