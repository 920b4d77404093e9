"""Any bytes under any name end as an image or as one error that names the file; AMSAM_FUZZ_EXAMPLES makes it longer."""

import os

import h5py
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from amsam_monai.data.files.images import ImageFileError, read_image, read_label, write_label
from tests.data.dicom_files import write_slice

VOXELS = np.random.default_rng(0).normal(100, 20, (4, 6, 5)).astype(np.int16)
NAMES = ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.npz", "a.h5", "a.png", "a.jpg", "a.tif", "a.bmp", "a.dcm")
NAMES += ("seg.dcm", "a.seg.nrrd")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small sound file of every format, as bytes."""
    folder = tmp_path_factory.mktemp("sound")
    volume = sitk.GetImageFromArray(VOXELS)
    for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha"):
        sitk.WriteImage(volume, str(folder / name), useCompression=name in ("a.nrrd", "a.mha"))
    np.savez(folder / "a.npz", image=VOXELS)
    with h5py.File(folder / "a.h5", "w") as file:
        file["image"] = VOXELS
    for name in ("a.png", "a.jpg", "a.bmp"):
        Image.fromarray(VOXELS[0].astype(np.uint8)).save(folder / name)
    Image.fromarray(VOXELS[0].astype(np.uint16)).save(folder / "a.tif")
    write_slice(folder / "a.dcm", VOXELS[0].astype(np.uint16), RescaleSlope=1, RescaleIntercept=-3)
    source = read_image(folder / "a.dcm")
    write_label(folder / "seg.dcm", np.ones(source.spatial_shape, np.uint8), source, {1: "liver"})
    segments = sitk.GetImageFromArray((VOXELS > 100).astype(np.uint8))
    segments.SetMetaData("Segment0_Name", "liver")
    segments.SetMetaData("Segment0_LabelValue", "1")
    sitk.WriteImage(segments, str(folder / "a.seg.nrrd"))
    return {name: (folder / name).read_bytes() for name in NAMES}, tmp_path_factory.mktemp("damaged")


places = st.one_of(st.integers(0, 400), st.integers(0, 1 << 16))  # headers more often than voxels
damage = st.tuples(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6), st.one_of(st.none(), places))


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_give_an_image_or_an_error_that_names_them(name, files):
    sound, folder = files

    @settings(
        max_examples=int(os.environ.get("AMSAM_FUZZ_EXAMPLES", "20")),
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damage)
    def check(how):
        changes, length = how
        data = bytearray(sound[name])
        for place, value in changes:
            data[place % len(data)] = value
        path = folder / name
        path.write_bytes(data if length is None else data[: length % len(data)])
        for read in (read_image, read_label):
            try:
                assert read(path).array.dtype.kind in "biuf"
                continue
            except ImageFileError as error:
                words = str(error)
            assert words.startswith(str(path))

    check()
