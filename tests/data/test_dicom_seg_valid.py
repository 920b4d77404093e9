"""dciodvfy (Debian's dicom3tools) finds no error in a DICOM-SEG, whatever the series lacked."""

import shutil
import subprocess

import numpy as np
import pytest

from amsam_monai.data.files.images import read_image, write_label
from tests.data.dicom_files import without_mark, write_stack

pytestmark = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools are not installed")

ANGLE = np.deg2rad(20)
SERIES = {
    "plain": {},
    "tilted": {"orientation": (1.0, 0.0, 0.0, 0.0, float(np.cos(ANGLE)), float(-np.sin(ANGLE)))},
    "no thickness": {"SliceThickness": None},
    "one slice": {"count": 1},
    "mr": {"modality": "MR"},
    "no patient": {"PatientID": None},
    "long names": {"SeriesDescription": "x" * 64, "StudyDescription": "y" * 64},
}


@pytest.mark.parametrize("kind", SERIES)
@pytest.mark.parametrize("content", ["empty", "two classes"])
def test_a_segmentation_has_no_error(kind, content, tmp_path):
    loaded = read_image(write_stack(tmp_path / "in", **SERIES[kind]))
    label = np.zeros(loaded.spatial_shape, np.uint8)
    if content != "empty":
        label[1:3, 2:4, 0], label[3:5, 2:4, -1] = 1, 2
    path = write_label(tmp_path / "a.dcm", label, loaded, {1: "liver", 2: "my own thing, " * 6})
    check(path)


def test_a_segmentation_of_files_without_mark_has_no_error(tmp_path):
    for path in write_stack(tmp_path / "in", 3).iterdir():
        without_mark(path)
    loaded = read_image(tmp_path / "in")
    label = np.ones(loaded.spatial_shape, np.uint8)
    check(write_label(tmp_path / "a.dcm", label, loaded, {1: "liver"}))


def check(path):
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60, check=False)
    errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
    assert errors == []
    assert "Segmentation" in said.stdout + said.stderr  # it did look at it
