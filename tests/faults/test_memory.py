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

from amsam_monai.data.files.images import read_image
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


WRITERS = {"nii": declare_nifti, "nii.gz": declare_nifti, "npz": declare_npz, "h5": declare_h5, "png": declare_png}
WRITERS |= {"nrrd": declare_nrrd}


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
    for name in ("small.nii", "small.nrrd"):
        assert read_image(folder / name).array.shape == (2, 2, 2)
