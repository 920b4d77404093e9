import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from amsam_monai.data.files.images import ImageFileError, list_inputs, read_image, write_label
from tests.segment.conftest import write_series


@pytest.fixture
def series(tmp_path):
    volume = sitk.GetImageFromArray(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 50)
    volume.SetSpacing((0.7, 0.8, 2.5))
    volume.SetOrigin((3.0, -4.0, 9.0))
    write_series(volume, tmp_path / "in" / "series")
    return tmp_path / "in" / "series"


def test_a_series_is_sorted_by_position_not_by_name(series):
    loaded = read_image(series)
    assert loaded.array.shape == (6, 5, 4)
    assert loaded.array[0, 0].tolist() == [-50, -20, 10, 40]
    assert loaded.spacing_mm == pytest.approx((0.7, 0.8, 2.5))
    np.testing.assert_allclose(loaded.affine @ [0, 0, 0, 1], [-3, 4, 9, 1])
    assert [path.name for path in loaded.members] == ["004.dcm", "003.dcm", "002.dcm", "001.dcm"]


def test_a_folder_of_series_lists_each_series_once(series):
    assert list_inputs(series.parent) == [series]


def test_files_without_an_ending_are_told_by_their_mark(series):
    for path in list(series.iterdir()):
        path.rename(path.with_name(path.stem))
    assert list_inputs(series.parent) == [series]
    assert read_image(series).array.shape == (6, 5, 4)
    assert read_image(series / "001").array.shape == (6, 5, 1)


def test_a_missing_slice_is_refused(series):
    (series / "002.dcm").unlink()
    with pytest.raises(ImageFileError, match=r"equal distances, got gaps from 2\.5 to 5 mm"):
        read_image(series)


def test_two_series_in_a_folder_are_refused_unless_one_is_named(series):
    volume = sitk.GetImageFromArray(np.zeros((2, 5, 6), np.int16))
    write_series(volume, series.parent / "more", uid="1.2.826.0.1.3680043.8.498.9")
    for path in (series.parent / "more").iterdir():
        path.rename(series / f"more{path.name}")
    with pytest.raises(ImageFileError, match=r"one DICOM series, got 2 \(1\.2\.826"):
        read_image(series)
    assert read_image(series, series="1.2.826.0.1.3680043.8.498.9.2").array.shape == (6, 5, 2)
    with pytest.raises(ImageFileError, match="series must be one of"):
        read_image(series, series="1.2.3")


def test_a_damaged_slice_is_named(series):
    (series / "001.dcm").write_bytes((series / "001.dcm").read_bytes()[:600])
    with pytest.raises(ImageFileError, match="damaged"):
        read_image(series)


def test_dicom_seg_numbers_classes_and_survives_an_empty_mask(series, tmp_path):
    loaded = read_image(series)
    label = np.zeros(loaded.spatial_shape, np.uint8)
    path = write_label(tmp_path / "empty.dcm", label, loaded, {1: "liver", 2: "my thing"})
    segments = pydicom.dcmread(path).SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == ["liver", "my thing"]
    assert segments[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    label[2:4, 1:3, 2] = 2
    dataset = pydicom.dcmread(write_label(tmp_path / "one.dcm", label, loaded, {1: "liver", 2: "my thing"}))
    assert dataset.pixel_array.sum() == 4
    assert dataset.StudyInstanceUID == pydicom.dcmread(loaded.members[0]).StudyInstanceUID
