"""Data as it arrives: every damaged file is named in one error, none ends in a library's traceback or is dropped."""

import builtins
import os
import shutil
import unicodedata

import nibabel
import numpy as np
import pytest

from amsam_monai.data.datasets import (
    DatasetError,
    LoadCased,
    acdc_datalist,
    image_folder_datalist,
    isic_datalist,
    synapse_datalist,
)
from tests.data.tiny_sets import SPACING, acdc_patient, array_file, isic_pair, labels, mask, picture, volume

IMAGE, LABEL = "patient001_frame12.nii.gz", "patient001_frame12_gt.nii.gz"


@pytest.fixture
def heart(tmp_path):
    """A sound patient's folder."""
    return acdc_patient(tmp_path, "patient001")


@pytest.fixture
def lesion(tmp_path):
    """A folder with two sound lesions; tests spoil the first."""
    for stem in ("ISIC_0000001", "ISIC_0000002"):
        isic_pair(tmp_path, stem)
    return tmp_path


def problems_of(read, *arguments, **options):
    with pytest.raises(DatasetError) as caught:
        read(*arguments, **options)
    for problem in caught.value.problems:
        assert str(problem.path) in str(caught.value)
    return {problem.path.name: problem.message for problem in caught.value.problems}


def save(path, array, affine=SPACING):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


@pytest.mark.parametrize("name", [IMAGE, LABEL])
def test_a_truncated_volume_is_named(heart, name):
    content = (heart / name).read_bytes()
    (heart / name).write_bytes(content[: len(content) // 2])
    found = problems_of(acdc_datalist, heart.parent)
    assert list(found) == [name]
    assert "damaged, truncated or of another format" in found[name]


@pytest.mark.parametrize("name", ["images/ISIC_0000001.jpg", "labels/ISIC_0000001_segmentation.png"])
def test_a_truncated_picture_is_named(lesion, name):
    content = (lesion / name).read_bytes()
    (lesion / name).write_bytes(content[: len(content) * 2 // 3])
    assert list(problems_of(isic_datalist, lesion)) == [name.split("/")[1]]


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_truncated_array_file_is_named(tmp_path, suffix):
    name = "case_001_sliceED_0.npz" if suffix == ".npz" else "patient001_frame01_slice_0.h5"
    path = array_file(tmp_path / "train" / name, shape=(40, 50))
    path.write_bytes(path.read_bytes()[:700])
    assert list(problems_of(acdc_datalist, tmp_path)) == [name]


def test_an_array_file_without_its_label_is_named(tmp_path):
    array_file(tmp_path / "train" / "case_001_sliceED_0.npz", keys=("img", "weights"))
    found = problems_of(acdc_datalist, tmp_path)
    assert "must hold an array named label" in found["case_001_sliceED_0.npz"]


@pytest.mark.parametrize("content", [b"<html>404 not found</html>", b"\x1f\x8b garbage", bytes(400)])
def test_a_file_of_another_format_is_named(heart, content):
    (heart / IMAGE).write_bytes(content)
    assert list(problems_of(acdc_datalist, heart.parent)) == [IMAGE]


@pytest.mark.parametrize("name", [IMAGE, LABEL])
def test_an_empty_file_is_named(heart, name):
    (heart / name).write_bytes(b"")
    assert "empty (0 bytes)" in problems_of(acdc_datalist, heart.parent)[name]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_named(heart, value):
    array = np.zeros((6, 5, 3), np.float32)
    array[1, 2, 1] = value
    save(heart / IMAGE, array)
    assert "1 NaN or infinite" in problems_of(acdc_datalist, heart.parent)[IMAGE]


def test_whole_numbers_stored_as_floats_are_fine(heart):
    labels(heart / LABEL, dtype=np.float32)
    items = acdc_datalist(heart.parent)
    assert LoadCased()(items[1])["label"].unique().tolist() == [0, 1, 2, 3]


def test_labels_between_numbers_are_named(heart):
    array = np.zeros((6, 5, 3), np.float32)
    array[1, 1, 1] = 1.5
    save(heart / LABEL, array)
    assert "whole numbers, got 1.5" in problems_of(acdc_datalist, heart.parent)[LABEL]


@pytest.mark.parametrize("value", [255, 4])
def test_a_label_outside_the_table_is_named_with_the_table(heart, value):
    labels(heart / LABEL, values=(1, 2, value))
    message = problems_of(acdc_datalist, heart.parent)[LABEL]
    assert "must be 0 or 1 RV, 2 Myo, 3 LV" in message
    assert f"got {value};" in message


def test_a_negative_label_is_named(heart):
    labels(heart / LABEL, values=(1, -1), dtype=np.int16)
    assert "got -1;" in problems_of(acdc_datalist, heart.parent)[LABEL]


def test_255_is_foreground_in_a_mask_and_never_scored_where_a_table_says_so(tmp_path):
    picture(tmp_path / "images" / "1.png")
    mask(tmp_path / "labels" / "1.png", value=255)
    assert LoadCased()(image_folder_datalist(tmp_path)[0])["label"].unique().tolist() == [0, 1]
    items = image_folder_datalist(tmp_path, labels={1: "lesion", 255: "never scored"})
    assert LoadCased()(items[0])["label"].unique().tolist() == [0, 255]


def test_class_ids_given_for_a_mask_are_not_taken_for_noise(tmp_path):
    picture(tmp_path / "images" / "1.png")
    mask(tmp_path / "labels" / "1.png", value=3)
    message = problems_of(image_folder_datalist, tmp_path)["1.png"]
    assert "must be 0 and 255, or 0 and 1, got 3" in message


def test_swapped_picture_and_mask_are_named(lesion):
    image, label = lesion / "images" / "ISIC_0000001.jpg", lesion / "labels" / "ISIC_0000001_segmentation.png"
    shutil.move(image, lesion / "kept")
    picture(label)
    mask(image)
    assert list(problems_of(isic_datalist, lesion)) == [label.name]


def test_a_grey_picture_in_place_of_a_mask_is_named(lesion):
    path = lesion / "labels" / "ISIC_0000001_segmentation.png"
    from PIL import Image

    Image.open(lesion / "images" / "ISIC_0000001.jpg").convert("L").save(path)
    assert "is this the image" in problems_of(isic_datalist, lesion)[path.name]


def test_swapped_volumes_are_named(heart):
    (heart / IMAGE).rename(heart / "kept.nii.gz")
    (heart / LABEL).rename(heart / IMAGE)
    (heart / "kept.nii.gz").rename(heart / LABEL)
    assert "is this the image?" in problems_of(acdc_datalist, heart.parent)[LABEL]


@pytest.mark.parametrize(("shift", "fine"), [(5e-4, True), (5e-3, False)])
def test_affines_may_differ_by_a_thousandth(heart, shift, fine):
    affine = SPACING.copy()
    affine[0, 3] += shift
    labels(heart / LABEL, affine=affine)
    if fine:
        assert len(acdc_datalist(heart.parent)) == 2
    else:
        assert "label must have the affine of" in problems_of(acdc_datalist, heart.parent)[LABEL]


def test_a_forbidden_file_is_named(heart, monkeypatch):
    """Root may read everything, so that the system's refusal is played here."""
    real_open = builtins.open

    def refusing(file, *arguments, **options):
        if str(file).endswith(IMAGE):
            raise PermissionError(13, "Permission denied", str(file))
        return real_open(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refusing)
    assert problems_of(acdc_datalist, heart.parent) == {IMAGE: "Permission denied"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(heart):
    (heart / IMAGE).chmod(0)
    assert problems_of(acdc_datalist, heart.parent) == {IMAGE: "Permission denied"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_an_error_that_names_it(heart):
    heart.chmod(0)
    try:
        with pytest.raises(PermissionError, match="patient001"):
            acdc_datalist(heart.parent)
    finally:
        heart.chmod(0o755)


def test_missing_partners_are_named_on_both_sides(lesion):
    (lesion / "images" / "ISIC_0000001.jpg").unlink()
    (lesion / "labels" / "ISIC_0000002_segmentation.png").unlink()
    found = problems_of(isic_datalist, lesion, check="names")
    assert "must have an image, found none called ISIC_0000001" in found["ISIC_0000001_segmentation.png"]
    assert "must have a label, found none called ISIC_0000002" in found["ISIC_0000002.jpg"]


def test_missing_label_volumes_are_named(heart):
    (heart / LABEL).unlink()
    assert list(problems_of(acdc_datalist, heart.parent)) == [IMAGE]


def test_two_images_of_one_name_are_named(lesion):
    picture(lesion / "images" / "ISIC_0000001.png")
    message = problems_of(isic_datalist, lesion)["ISIC_0000001.png"]
    assert "must be the only image called ISIC_0000001" in message


def test_a_patient_twice_is_named(tmp_path):
    acdc_patient(tmp_path / "training", "patient001")
    acdc_patient(tmp_path / "testing", "patient001")
    with pytest.raises(DatasetError, match="case id patient001_frame01 must be unique"):
        acdc_datalist(tmp_path)


def test_a_frame_in_another_patient_s_folder_is_named(heart):
    shutil.copy(heart / IMAGE, heart / "patient002_frame01.nii.gz")
    found = problems_of(acdc_datalist, heart.parent)
    assert "must lie in the folder patient002" in found["patient002_frame01.nii.gz"]


def test_unicode_and_spaces_in_names_are_fine(tmp_path):
    folder = tmp_path / "Läsionen 2024 (新)"
    picture(folder / "images" / "Mädchen 日本 1.png")
    mask(folder / "labels" / "Mädchen 日本 1.png")
    assert image_folder_datalist(folder)[0]["case_id"] == "Mädchen 日本 1"


def test_names_written_on_another_system_still_meet(tmp_path):
    name = "é1.png"
    picture(tmp_path / "images" / unicodedata.normalize("NFC", name))
    mask(tmp_path / "labels" / unicodedata.normalize("NFD", name))
    assert len(image_folder_datalist(tmp_path)) == 1


def test_a_link_to_itself_is_named(lesion):
    path = lesion / "images" / "ISIC_0000003.jpg"
    path.symlink_to(path)
    mask(lesion / "labels" / "ISIC_0000003_segmentation.png")
    assert list(problems_of(isic_datalist, lesion)) == [path.name]


def test_a_link_to_nowhere_is_named(lesion):
    path = lesion / "images" / "ISIC_0000001.jpg"
    path.unlink()
    path.symlink_to(lesion / "gone.jpg")
    assert "no such file" in problems_of(isic_datalist, lesion)[path.name]


def test_a_circle_of_folders_ends(lesion):
    (lesion / "images" / "again").symlink_to(lesion)
    (lesion / "loop").symlink_to(lesion / "loop")
    assert len(isic_datalist(lesion)) == 2
    (lesion / "patient001").mkdir()
    (lesion / "patient001" / "up").symlink_to(lesion)
    with pytest.raises(DatasetError, match="patient001: must hold frames"):
        acdc_datalist(lesion)


def test_all_offending_files_come_in_one_error(tmp_path):
    for number in range(30):
        picture(tmp_path / "images" / f"{number}.png")
        mask(tmp_path / "labels" / f"{number}.png")
        (tmp_path / "labels" / f"{number}.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"30 problem\(s\)(?s:.*)and 10 more") as caught:
        image_folder_datalist(tmp_path)
    assert len(caught.value.problems) == 30


def test_a_series_in_time_is_named_with_advice(heart):
    save(heart / IMAGE, np.zeros((6, 5, 3, 4), np.int16))
    assert "three axes" in problems_of(acdc_datalist, heart.parent)[IMAGE]


def test_files_that_are_no_pictures_are_passed_over_and_noted(lesion, caplog):
    (lesion / "images" / "ATTRIBUTION.txt").write_text("thanks", encoding="utf-8")
    (lesion / "images" / ".DS_Store").write_bytes(b"x")
    with caplog.at_level("INFO"):
        assert len(isic_datalist(lesion)) == 2
    assert "1 other files were passed over, such as ATTRIBUTION.txt" in caplog.text


def test_an_odd_file_among_volumes_is_noted(tmp_path, caplog):
    volume(tmp_path / "img" / "img0005.nii.gz")
    labels(tmp_path / "label" / "label0005.nii.gz")
    volume(tmp_path / "img" / "old_img5.nii.gz")
    with caplog.at_level("INFO"):
        assert len(synapse_datalist(tmp_path)) == 1
    assert "old_img5.nii.gz was passed over" in caplog.text


def test_empty_folders_are_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DatasetError, match="images: must hold pictures"):
        image_folder_datalist(tmp_path)


def test_a_wrong_check_is_refused(lesion):
    with pytest.raises(ValueError, match="check must be one of"):
        isic_datalist(lesion, check="maybe")


@pytest.mark.slow
def test_a_folder_of_a_hundred_thousand_is_listed_without_opening_a_file(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(100_000):
        (tmp_path / "images" / f"ISIC_{number:07d}.jpg").touch()
        (tmp_path / "labels" / f"ISIC_{number:07d}_segmentation.png").touch()
    assert len(isic_datalist(tmp_path, check="names")) == 100_000  # the files are empty: none could be read
