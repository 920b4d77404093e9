"""Twenty ways to lay data out wrongly, each with a sentence that says what to do; nothing is written."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from amsam_monai import train
from tests.data.tiny_sets import mask, picture

NANO = {"backbone": "vit_nano", "weights": None}


def volume(path, shape=(16, 18, 6), value=50, spacing=(1, 1, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(shape, np.int16)
    array[4:10, 4:12, 1:4] = value
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1])), path)


def pairs(root, names=("a", "b"), value=1):
    for name in names:
        picture(root / "images" / f"{name}.png")
        mask(root / "labels" / f"{name}.png", value=value)


def one_case(root):
    pairs(root, ["a"])


def nothing(root):
    root.mkdir()


def no_labels(root):
    picture(root / "images" / "a.png")


def empty_labels(root):
    pairs(root, value=0)


def label_without_image(root):
    pairs(root)
    mask(root / "labels" / "c.png")


def image_without_label(root):
    pairs(root)
    picture(root / "images" / "c.png")


def another_geometry(root):
    for name in "ab":
        volume(root / "images" / f"{name}.nii.gz")
        volume(root / "labels" / f"{name}.nii.gz", value=1, spacing=(1, 1, 3 if name == "a" else 2))


def damaged(root):
    pairs(root)
    (root / "images" / "b.png").write_bytes(b"PNG?")


def two_of_a_name(root):
    pairs(root)
    picture(root / "images" / "a.jpg")


def pictures_among_volumes(root):
    pairs(root)
    volume(root / "images" / "c.nii.gz")
    volume(root / "labels" / "c.nii.gz", value=1)


def colour_volumes(root):
    for name in "ab":
        (root / "images").mkdir(parents=True, exist_ok=True)
        array = np.zeros((16, 18, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), root / "images" / f"{name}.nii.gz")
        volume(root / "labels" / f"{name}.nii.gz", value=1)


def images_for_labels(root):
    rng = np.random.default_rng(0)
    for name in "ab":
        for kind in ("images", "labels"):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(root / kind / f"{name}.png")


def list_of_missing_files(root):
    root.mkdir()
    (root / "pairs.json").write_text(json.dumps([{"image": "x.png", "label": "y.png"}]), encoding="utf-8")


def two_data_sets(root):
    pairs(root / "one")
    pairs(root / "two")


def several_channels(root):
    for name in "ab":
        (root / "images").mkdir(parents=True, exist_ok=True)
        array = nibabel.Nifti1Image(np.zeros((16, 18, 6, 2), np.int16), np.diag([1, 1, 3, 1]))
        nibabel.save(array, root / "images" / f"{name}.nii.gz")
        volume(root / "labels" / f"{name}.nii.gz", value=1)


def names_that_are_code(root):
    for name in "ab":
        volume(root / "imagesTr" / f"{name}_0000.nii.gz")
        volume(root / "labelsTr" / f"{name}.nii.gz", value=1)
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "$exit(3)": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(about), encoding="utf-8")


WRONG = [
    (nothing, {}, "no data set here"),
    (one_case, {}, "at least two patients"),
    (no_labels, {}, "no data set here"),
    (empty_labels, {}, "all labels are empty"),
    (label_without_image, {}, "must have an image, found none called c"),
    (image_without_label, {}, "must have a label, found none called c"),
    (another_geometry, {}, "b.nii.gz"),
    (damaged, {}, "b.png"),
    (two_of_a_name, {}, "must be the only image called a"),
    (pictures_among_volumes, {}, "all be pictures or all be volumes|must"),
    (colour_volumes, {}, "a.nii.gz"),
    (images_for_labels, {}, "are these images, or ids of objects"),
    (list_of_missing_files, {}, "no such file"),
    (two_data_sets, {}, "found 2"),
    (several_channels, {}, "channel"),
    (names_that_are_code, {}, r"must have names that do not begin with .*, got '\$exit"),
    (pairs, {"labels": {1: "%other.yaml::code"}}, "must have names that do not begin with"),
    (pairs, {"labels": {1: "lesion", 7: "hair"}}, "no label holds 7 .hair."),
    (pairs, {"ids": ["a", "zz"]}, "lacks 1 of 2: zz"),
    (pairs, {"ids": ["a"]}, "at least two patients"),
    (pairs, {"patients": "(.)"[:-1]}, "patients"),
    (pairs, {"method": "unet"}, "method must be one of plain"),
    (pairs, {"folds": 0}, "name a method"),
    (pairs, {"minutes": 0}, "minutes must be more than 0"),
]


@pytest.mark.parametrize(("lay_out", "options", "message"), WRONG, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_wrong_is_refused_with_a_sentence(tmp_path, lay_out, options, message):
    lay_out(tmp_path / "data")
    data = tmp_path / "data"
    data = data / "pairs.json" if (data / "pairs.json").is_file() else data
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(data, tmp_path / "out", sam=NANO, side=64, steps=1, **options)
    assert not (tmp_path / "out").exists()


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        train(tmp_path / "nowhere", tmp_path / "out")
