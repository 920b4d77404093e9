import nibabel as nib
import numpy as np
import pytest

from amsam_monai.data.datasets.reading import read_case
from amsam_monai.data.files.images import ImageFileError
from amsam_monai.data.files.labels import label_table, remap, value_map


def test_both_synapse_orders_come_from_the_raw_ids_by_name():
    raw = np.arange(14, dtype=np.uint8)
    # reference: SAMed's script maps 1,2,3,4,6,7,8,11 to 1..8; TransUNet's order begins with the aorta
    assert remap(raw, "synapse-raw", "synapse-samed").tolist() == [0, 1, 2, 3, 4, 0, 5, 6, 7, 0, 0, 8, 0, 0]
    assert remap(raw, "synapse-raw", "synapse-transunet").tolist() == [0, 7, 4, 3, 2, 0, 5, 8, 1, 0, 0, 6, 0, 0]


def test_one_order_to_the_other_and_back_is_the_same():
    labels = np.arange(9, dtype=np.uint8)
    there = remap(labels, "synapse-samed", "synapse-transunet")
    assert remap(there, "synapse-transunet", "synapse-samed").tolist() == labels.tolist()


def test_a_name_that_the_source_lacks_is_refused():
    with pytest.raises(ValueError, match="got esophagus"):
        value_map("synapse-samed", {1: "liver", 2: "esophagus"})


def test_values_outside_the_table_are_refused():
    with pytest.raises(ValueError, match=r"got \[9\]"):
        remap(np.array([0, 9]), "synapse-samed", "synapse-transunet")


def test_without_a_table_values_of_16_bits_are_ids_too_unless_they_look_like_an_image(tmp_path):
    label = np.zeros((6, 5, 4), np.int16)
    label[1, 1, 1], label[2, 2, 2] = 7, 300
    for name, values in (("image", label), ("label", label), ("many", np.arange(120).reshape(label.shape) + 250)):
        nib.save(nib.Nifti1Image(values.astype(np.int16), np.eye(4)), tmp_path / f"{name}.nii")
    read = read_case(tmp_path / "image.nii", tmp_path / "label.nii", "table").label.array
    np.testing.assert_array_equal(read, label)
    with pytest.raises(ImageFileError, match=r"label values must be 0 or at most 65535, got 256, .*is this the image"):
        read_case(tmp_path / "image.nii", tmp_path / "many.nii", "table")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("brain", "label table must be one of"),
        ({}, r"1\.\.254"),
        ({300: "x"}, r"1\.\.254"),
        ({1: "a", 255: "b"}, "leave 255 out"),
        ({1: "a", 2: "a"}, "differ"),
    ],
)
def test_bad_tables_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        label_table(table)
