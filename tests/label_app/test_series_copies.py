"""A DICOM series is handed out as it is now, whatever the clock said when its copy was made."""

import os

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")

from amsam_monai.label_app.datastore import StudiesDatastore
from tests.label_app.test_server import write_dicom

pytestmark = pytest.mark.label


def test_a_series_that_changed_after_the_clock_was_set_back_is_copied_anew(tmp_path):
    import pydicom

    studies = tmp_path / "studies"
    studies.mkdir()
    write_dicom(studies / "series")
    store = StudiesDatastore(str(studies), tmp_path / "copies", auto_reload=False)
    copy = store.get_image_uri("series")
    first, made = np.asarray(nib.load(copy).dataobj), os.stat(copy).st_mtime_ns
    assert store.get_image_uri("series") == copy
    assert os.stat(copy).st_mtime_ns == made
    path = studies / "series" / "2.dcm"
    data = pydicom.dcmread(path)
    data.PixelData = (data.pixel_array + 7).astype(np.int16).tobytes()
    data.save_as(path)
    for one in (path, studies / "series"):
        os.utime(one, (1e9, 1e9))  # long before the copy
    second = np.asarray(nib.load(store.get_image_uri("series")).dataobj)
    assert (second[..., 2] == first[..., 2] + 7).all()
    np.testing.assert_array_equal(second[..., 3], first[..., 3])
