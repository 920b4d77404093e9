"""What a DICOM-SEG says about its segments: terms, colours, and a validator's opinion."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image, ImageCms

from amsam_monai.bundles.load import class_names, read_metadata
from amsam_monai.data.files.dicom.terms import STRUCTURE, term_of
from amsam_monai.data.files.images import read_image, read_label, write_label
from amsam_monai.data.files.palette import cielab, class_colours
from tests.segment.conftest import write_series


@pytest.fixture
def series(tmp_path):
    volume = sitk.GetImageFromArray(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6))
    volume.SetSpacing((0.7, 0.8, 2.5))
    write_series(volume, tmp_path / "series")
    return read_image(tmp_path / "series")


@pytest.mark.parametrize(
    ("name", "value", "side"),
    [
        ("RV", "53085002", None),
        ("Myo", "49848007", None),
        ("LV", "87878005", None),
        ("right kidney", "64033007", "24028007"),
        ("Left_Kidney", "64033007", "7771000"),
        ("lesion", "52988006", None),
        ("nucleus", "84640000", None),
        ("gland", "85756007", None),
        ("my thing", STRUCTURE[0], None),
    ],
)
def test_a_class_is_coded_by_its_name(name, value, side):
    term = term_of(name)
    assert term.type.value == value
    assert (term.side.value if term.side else None) == side


def test_every_class_of_every_bundle_has_a_term():
    for configs in (Path(__file__).parents[2] / "bundles").glob("*/configs"):
        for name in class_names(configs.parent, read_metadata(configs.parent)).values():
            assert term_of(name).type.value != STRUCTURE[0], name


def test_segments_carry_the_value_of_their_class_its_side_and_its_colour(series, tmp_path):
    label = np.zeros(series.spatial_shape, np.uint8)
    label[1, 1, 1], label[2, 2, :2] = 2, 3  # class 1 is absent
    classes = {1: "RV", 2: "Myo", 3: "right kidney"}
    data = pydicom.dcmread(write_label(tmp_path / "seg.dcm", label, series, classes))
    assert [segment.SegmentLabel for segment in data.SegmentSequence] == ["RV", "Myo", "right kidney"]
    voxels = dict.fromkeys((1, 2, 3), 0)
    for frame, groups in zip(data.pixel_array.reshape(-1, 5, 6), data.PerFrameFunctionalGroupsSequence, strict=True):
        voxels[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber] += int(frame.sum())
    assert voxels == {1: 0, 2: 1, 3: 2}
    types = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in data.SegmentSequence]
    assert types[2].SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    assert data.SegmentSequence[1].RecommendedDisplayCIELabValue == cielab(class_colours()[2])
    assert data.ReferencedSeriesSequence[0].SeriesInstanceUID == pydicom.dcmread(series.members[0]).SeriesInstanceUID


def test_values_of_16_bits_are_segments_too(series, tmp_path):
    label = np.zeros(series.spatial_shape, np.uint16)
    label[1, 1, 1], label[2, 2, :2] = 6, 300
    path = write_label(tmp_path / "seg.dcm", label, series, {6: "liver", 300: "spleen"})
    read = read_label(path, labels={1: "spleen", 2: "liver"})
    assert {int(value): int((read.array == value).sum()) for value in (1, 2)} == {1: 2, 2: 1}


def test_segments_beyond_the_255th_are_not_taken_for_others(series, tmp_path):
    label = np.zeros(series.spatial_shape, np.uint16)
    label[1, 1, 1], label[2, 2, 2] = 4, 260
    path = write_label(tmp_path / "seg.dcm", label, series, {number: f"part {number}" for number in range(1, 261)})
    assert set(np.unique(read_label(path).array)) == {0, 4, 260}


def test_colours_are_those_of_a_colour_management_system():
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB", 5000), "RGB", "LAB", 1
    )
    for colour in class_colours(9)[1:]:
        pixel = Image.new("RGB", (1, 1), tuple(int(channel) for channel in colour))
        lightness, a, b = (np.frombuffer(ImageCms.applyTransform(pixel, to_lab).tobytes(), np.uint8)).astype(float)
        expected = [lightness / 255, (a if a < 128 else a - 256) + 128, (b if b < 128 else b - 256) + 128]
        got = np.array(cielab(colour)) / 65535 * [1, 255, 255]
        np.testing.assert_allclose(got, expected, atol=1.5, rtol=0.01)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs Debian's dicom3tools")
def test_a_validator_finds_no_error(series, tmp_path):
    label = np.zeros(series.spatial_shape, np.uint8)
    for name, classes in (("empty", ()), ("one", (2,)), ("all", (1, 2, 3))):
        for index in classes:
            label[index, 1:3, index] = index
        path = write_label(tmp_path / f"{name}.dcm", label, series, {1: "RV", 2: "left kidney", 3: "my thing"})
        said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60).stderr
        assert [line for line in said.splitlines() if line.startswith("Error")] == []
