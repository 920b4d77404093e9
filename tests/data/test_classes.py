"""Names and values of classes in label maps that are written."""

import nibabel as nib
import numpy as np
import pytest

from amsam_monai.data.classes import Classes
from amsam_monai.data.files.images import read_image, read_label
from amsam_monai.data.files.writers import write_label

ORGANS = {1: "spleen", 2: "liver"}
LABEL = np.array([[0, 1], [2, 2]], np.uint8)


def test_by_default_maps_hold_class_indices():
    classes = Classes.of({0: "background", **ORGANS})
    np.testing.assert_array_equal(classes.written(LABEL), LABEL)
    assert classes.written_names == ORGANS


@pytest.mark.parametrize(("liver", "kind"), [(6, np.uint8), (420, np.uint16)])
def test_maps_hold_the_users_own_values_and_come_back(liver, kind):
    classes = Classes.of(ORGANS, values={1: 1, 2: liver})
    written = classes.written(LABEL)
    assert written.dtype == kind
    assert written.tolist() == [[0, 1], [liver, liver]]
    assert classes.written_names == {1: "spleen", liver: "liver"}
    np.testing.assert_array_equal(classes.read(written), LABEL)


def test_values_that_change_places_do_not_run_into_each_other():
    classes = Classes.of(ORGANS, values={1: 2, 2: 1})
    assert classes.written(LABEL).tolist() == [[0, 2], [1, 1]]
    assert classes.read(np.array([0, 1, 2, 9])).tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize("values", [{1: 1}, {1: 3, 2: 3}, {1: 0, 2: 1}, {1: 1, 2: 70000}])
def test_values_that_do_not_fit_the_classes_are_refused(values):
    with pytest.raises(ValueError, match="label values must be a different number from 1 to 65535"):
        Classes.of(ORGANS, values=values)


def test_a_name_of_no_class_keeps_no_component():
    assert Classes.of(ORGANS, largest_component=["liver"]).largest == (2,)
    assert Classes.of(ORGANS, largest_component=True).largest == (1, 2)
    with pytest.raises(ValueError, match="largest_component must name classes among"):
        Classes.of(ORGANS, largest_component=["heart"])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.png", "a.tif"])
def test_values_above_255_are_kept_in_files(tmp_path, name):
    if name.endswith((".png", ".tif")):
        image = tmp_path / "image.png"
        write_picture(image)
    else:
        image = tmp_path / "image.nii.gz"
        nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.diag([1, 1, 3, 1])), image)
    source = read_image(image)
    label = np.zeros(source.spatial_shape, np.uint16)
    label[0, 1], label[1, 1] = 420, 1
    write_label(tmp_path / name, label, source)
    np.testing.assert_array_equal(read_label(tmp_path / name).array, label)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.65535"):
        write_label(tmp_path / name, label.astype(np.int32) * 1000, source)


def write_picture(path):
    from PIL import Image

    Image.fromarray(np.zeros((2, 3), np.uint8)).save(path)
