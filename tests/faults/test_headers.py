"""Headers that say one thing to a check and another to the library behind it, or declare more than there is."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from amsam_monai.data.files import limits
from amsam_monai.data.files.images import ImageFileError, read_image, read_label, write_label
from amsam_monai.data.files.readers import read_nifti
from tests.data.dicom_files import write_slice
from tests.data.test_dicom_series import write_stack

META = "ObjectType = Image\nNDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\n"
NRRD = "NRRD0004\ntype: uint8\ndimension: 2\nsizes: 4 4\nencoding: raw\n"
LONG = "".join(f"{number} = {'a' * 100}\n" for number in range(12_000))  # over 1 MiB
SPELLINGS = {
    "another separator": META + "ElementDataFile : {}\n",
    "behind a long header": META.replace("DimSize", LONG + "DimSize") + "ElementDataFile = {}\n",
    "local in another spelling": META + "elementdatafile = LOCAL\nElementDataFile = {}\n",
    "local, and moved in": META + " ElementDataFile = LOCAL\nElementDataFile = {}\n",
    "local behind a line without a value": META + "foo\nElementDataFile = LOCAL\nElementDataFile = {}\n",
    "over two lines": META + "ElementDataFile\n= {}\n",
    "a list that is a folder": META + "ElementDataFile = list/../../{}\n",
    "nrrd, behind another kind of line": NRRD + "data file: {}\ncontent: a\x0cdata file: x.raw\n\n",
    "nrrd, taken back": NRRD + "data file: {}\ncontent: a\x0cdata file:\n\n",
    "nrrd, named twice": NRRD + "data file: {}\ndata file: x.raw\n\n",
    "nrrd, behind its end": NRRD + "data file: {}\n\r\ndata file:\n\n",
    "nrrd, behind a long header": NRRD.replace("type", LONG.replace(" = ", ":=") + "type") + "data file: {}\n\n",
    "nrrd, a list that is a folder": NRRD + "data file: list/../../{}\n\n",
    "nrrd, what the terminal sends": NRRD + "data file: -\n\n",
}


@pytest.fixture
def folder(tmp_path):
    """A folder for headers, beside a file that is none of its business."""
    for name in ("in", "in/list"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret").write_bytes(bytes(range(1, 17)))
    (tmp_path / "in" / "x.raw").write_bytes(bytes(16))
    return tmp_path / "in"


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_a_header_leads_to_another_file(spelling, alone, folder):
    text = SPELLINGS[spelling]
    path = folder / ("a.nrrd" if text.startswith("NRRD") else "a.mha")
    path.write_bytes(text.format("secret" if "list/" in text else folder.parent / "secret").encode())
    with pytest.raises(ImageFileError, match=r"must (hold|lie|end|name|be lines)|which is not there"):
        read_image(path, alone=alone)
    with pytest.raises(ImageFileError):
        read_label(path, alone=alone)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
def test_a_pattern_of_data_files_leads_to_no_link_out_of_the_folder(name, folder):
    start = {"a.mhd": META + "ElementDataFile = ", "a.nhdr": NRRD + "data file: "}[name]
    start = start.replace("NDims = 2", "NDims = 3").replace("dimension: 2", "dimension: 3").replace("4 4", "4 4 2")
    end = " 1 2 1\n" if name == "a.mhd" else " 1 2 1 2\n\n"
    for number in (1, 2):
        (folder / f"s{number:02d}.raw").write_bytes(bytes(range(16)))
    (folder / name).write_text(start + "s%02d.raw" + end, encoding="utf-8")
    assert read_image(folder / name).array[..., 1].T.ravel().tolist() == list(range(16))
    (folder / "s02.raw").unlink()
    (folder / "s02.raw").symlink_to(folder.parent / "secret")
    with pytest.raises(ImageFileError, match="must lie in it or beside it"):
        read_image(folder / name)
    for pattern in ("s%s.raw", "s%n.raw", "s%02d%02d.raw", "s%999999d.raw"):
        (folder / name).write_text(start + pattern + end, encoding="utf-8")
        with pytest.raises(ImageFileError, match="a pattern of data files must have one number"):
            read_image(folder / name)


def test_voxels_that_look_like_a_header_are_voxels(folder):
    """What follows the header of a NRRD file is not read as more of it."""
    voxels = np.frombuffer(b"data file: /etc/x\n\n", np.uint8)[None]
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(folder / "a.nrrd"))
    assert read_image(folder / "a.nrrd", alone=True).array.ravel().tolist() == voxels.ravel().tolist()


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_file_of_another_format_is_not_opened_under_a_volume_s_name(name, folder):
    """ITK's HDF5 goes to other files for its voxels."""
    image = sitk.GetImageFromArray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    for other in ("a.png", "a.hdf5", "a.tif", "a.bmp"):
        sitk.WriteImage(image, str(folder / other))
        (folder / name).write_bytes((folder / other).read_bytes())
        with pytest.raises(ImageFileError, match="is it a MetaImage file"):
            read_image(folder / name)


def test_a_dicom_file_is_read_as_one_whatever_else_it_could_be(folder, monkeypatch):
    """Its first 128 bytes are free, and other formats begin there."""
    path = write_slice(folder / "a.dcm", np.arange(16, dtype=np.uint16).reshape(4, 4))
    wanted = read_image(path).array
    data = bytearray(path.read_bytes())
    for start in (b"\x89HDF\r\n\x1a\n", b"II*\x00\x08\x00\x00\x00", b"\x89PNG\r\n\x1a\n", b"NRRD0004\n"):
        data[: len(start)] = start
        path.write_bytes(data)
        np.testing.assert_array_equal(read_image(path).array, wanted)


# More than there is


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_lies_before_the_voxels_of_a_nifti_file_is_bounded(kind, name, folder):
    """Extensions are read whole, and a gzip file of 3 MB held one of 600 MB."""
    header = kind(np.ones((2, 2, 2), np.uint8), np.diag([2.0, 2.0, 2.0, 1.0])).header.copy()
    header["vox_offset"] = 2**31
    data = header.binaryblock + bytes([1, 0, 0, 0]) + struct.pack("<ii", 2**31 - 1024, 4) + bytes(64)
    (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(ImageFileError, match="voxels must begin within 67108864 bytes, got 2147483648"):
        read_image(folder / name)


def test_a_nifti_file_whose_header_forgot_its_size_is_checked_too(folder):
    image = nib.Nifti1Image(np.arange(4096, dtype=np.int16).reshape(16, 16, 16), np.diag([2.0, 2.0, 2.0, 1.0]))
    data = bytearray(image.to_bytes())
    data[:4] = bytes(4)
    packed = bytearray(gzip.compress(bytes(data)))
    (folder / "a.nii.gz").write_bytes(packed)
    np.testing.assert_array_equal(read_nifti(folder / "a.nii.gz").array, np.asanyarray(image.dataobj))
    packed[-6] ^= 1  # of the checksum
    (folder / "a.nii.gz").write_bytes(packed)
    with pytest.raises(ImageFileError, match="CRC"):
        read_image(folder / "a.nii.gz")


@pytest.mark.parametrize("count", [2**31 - 1, -3])
def test_a_dicom_file_declares_no_more_frames_than_it_has_bytes(count, folder):
    path = write_slice(folder / "a.dcm", np.zeros((1, 1), np.uint8), NumberOfFrames=count)
    with pytest.raises(ImageFileError, match=f"declares {count} frames, not as many as it holds"):
        read_image(path)


def test_frames_of_a_segmentation_that_lie_far_apart_are_no_volume(folder):
    image = read_image(write_stack(folder / "series", 6))
    path = write_label(folder / "a.dcm", np.ones(image.spatial_shape, np.uint8), image, {1: "liver"})
    data = pydicom.dcmread(path)
    far = data.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    first, second = (
        np.array(data.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence[0].ImagePositionPatient, float)
        for number in (0, 1)
    )
    far.ImagePositionPatient = [round(value, 3) for value in first + 10**8 * (second - first)]
    data.save_as(path)
    with pytest.raises(ImageFileError, match="must have at most 1073741824 voxels"):
        read_label(path)
    far.ImagePositionPatient = data.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    data.Rows = data.Columns = 65000
    data.save_as(path)
    with pytest.raises(ImageFileError, match="must have at most 1073741824 voxels"):
        read_label(path)


def test_a_segmentation_has_no_more_layers_than_there_is_room_for(folder, monkeypatch):
    image = read_image(write_stack(folder / "series", 6))
    path = write_label(folder / "a.dcm", np.ones(image.spatial_shape, np.uint8), image, {1: "liver"})
    data = pydicom.dcmread(path)
    places = data.PerFrameFunctionalGroupsSequence
    for one in places[1:5]:
        one.PlanePositionSequence = places[0].PlanePositionSequence
    data.save_as(path)
    monkeypatch.setattr(limits, "MAX_VOXELS", image.array.size)
    with pytest.raises(ImageFileError, match="must have at most"):
        read_label(path)
