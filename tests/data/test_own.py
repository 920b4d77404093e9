"""Data of one's own is found in every layout that people have, or refused with what to do."""

import csv
import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from amsam_monai.data.datasets import LoadCased
from amsam_monai.data.datasets.cases import DatasetError
from amsam_monai.data.datasets.own import find_own, own_datalist
from amsam_monai.data.prepare.prepare import prepare

SHAPE = (12, 10, 4)


def volume(path, values=None, seed=0):
    """A NIfTI volume of noise, or a label with a block of each of `values`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).normal(100, 10, SHAPE).astype(np.float32)
    if values is not None:
        array = np.zeros(SHAPE, np.uint8)
        for place, value in enumerate(values):
            array[2 * place : 2 * place + 2, 2:5, 1:3] = value
    nib.save(nib.Nifti1Image(array, np.diag([1.5, 1.5, 8, 1])), path)


def picture(path, mask=None):
    """A grey-green picture, or a mask as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), (90, 120, 90), np.uint8) if mask is None else mask).save(path)


def square(value=255):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10, 5:15] = value
    return mask


def decathlon(root, values=(1, 2), count=2, declared=None, ending=""):
    for n in range(count):
        volume(root / f"imagesTr/la_{n:03d}{ending}.nii.gz", seed=n)
        volume(root / f"labelsTr/la_{n:03d}.nii.gz", values)
    if declared is not None:
        (root / "dataset.json").write_text(json.dumps(declared), encoding="utf-8")


def said(listing):
    return "\n".join([*map(str, listing.problems), *listing.notes])


@pytest.mark.parametrize(
    "declared",
    [
        {"labels": {"0": "background", "1": "anterior", "2": "posterior"}, "modality": {"0": "MRI"}},
        {"labels": {"background": 0, "anterior": 1, "posterior": 2}, "channel_names": {"0": "MRI"}},
    ],
    ids=["decathlon", "nnunet"],
)
@pytest.mark.parametrize("ending", ["", "_0000"])
def test_the_decathlon_s_layout_and_nnunet_s_are_read_with_their_names(tmp_path, declared, ending):
    decathlon(tmp_path, declared=declared, ending=ending)
    (tmp_path / "labelsTr/._la_000.nii.gz").write_bytes(b"\0\5\x16\7mac")
    listing = find_own(tmp_path)
    assert listing.labels == {1: "anterior", 2: "posterior"}
    assert [case.case_id for case in listing.cases] == ["la_000", "la_001"]
    assert [item["image"] for item in own_datalist(tmp_path)] == [
        str(tmp_path / f"imagesTr/la_00{n}{ending}.nii.gz") for n in (0, 1)
    ]


def test_one_of_several_channels_is_chosen_and_said(tmp_path):
    decathlon(tmp_path, ending="_0000", declared={"labels": {"tumour": 1, "edema": 2}, "channel_names": {"1": "T2"}})
    for n in (0, 1):
        volume(tmp_path / f"imagesTr/la_{n:03d}_0001.nii.gz", seed=7)
    with pytest.raises(DatasetError, match=r"has several channels \(0, 1 T2\); choose one with --channel"):
        own_datalist(tmp_path)
    listing = find_own(tmp_path, channel=1)
    assert all(case.image.name.endswith("_0001.nii.gz") for case in listing.cases)
    assert "channel 1 T2 of 2 was taken" in listing.notes
    (tmp_path / "imagesTr/la_001_0001.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"la_001_0000.nii.gz: must have channel 1, got \[0\]"):
        own_datalist(tmp_path, channel=1)


def test_folders_of_images_and_masks_pair_up_to_the_usual_endings(tmp_path):
    volume(tmp_path / "images/a_image.nii.gz")
    volume(tmp_path / "masks/a_seg.nii.gz", [3, 7])
    volume(tmp_path / "images/b.nii.gz")
    volume(tmp_path / "masks/b.nii.gz", [3])
    (tmp_path / "images/notes.txt").write_text("hello", encoding="utf-8")
    listing = find_own(tmp_path)
    assert [(case.case_id, case.label.name) for case in listing.cases] == [("a", "a_seg.nii.gz"), ("b", "b.nii.gz")]
    assert listing.labels == {3: "3", 7: "7"}
    assert "1 other entries were passed over, such as notes.txt" in said(listing)


def test_masks_of_0_and_255_are_one_class(tmp_path):
    for name in "ab":
        picture(tmp_path / f"images/{name}.jpg")
        picture(tmp_path / f"labels/{name}_mask.png", square())
    for labels, name in ((None, "foreground"), ({255: "cyst"}, "cyst"), ({1: "cyst"}, "cyst")):
        listing = find_own(tmp_path, labels=labels)
        assert listing.labels == {1: name}
        assert {case.rule for case in listing.cases} == {"binary"}
    label = LoadCased(classes={"cyst": 1})(own_datalist(tmp_path)[0])["label"]
    assert label.unique().tolist() == [0, 1]
    assert int(label.sum()) == 50


def test_values_without_a_name_are_background_and_the_classes_come_in_order(tmp_path):
    volume(tmp_path / "images/a.nii.gz")
    volume(tmp_path / "labels/a.nii.gz", [6, 8, 11])
    listing = find_own(tmp_path, labels={11: "pancreas", 6: "liver"})
    assert listing.labels == {11: "pancreas", 6: "liver"}
    assert "label values without a name are background: 8 (in 1 cases)" in listing.notes
    item = own_datalist(tmp_path, labels={11: "pancreas", 6: "liver"})[0]
    label = LoadCased(classes={"pancreas": 11, "liver": 6})(item)["label"][0]
    raw = nib.load(tmp_path / "labels/a.nii.gz").get_fdata()
    assert (label.numpy() == np.select([raw == 11, raw == 6], [1, 2])).all()


def test_values_above_255_become_class_indices(tmp_path):
    volume(tmp_path / "images/a.nii.gz")
    path = tmp_path / "labels/a.nii.gz"
    path.parent.mkdir()
    array = np.zeros(SHAPE, np.int16)
    array[2:4, 2:5] = 1001
    nib.save(nib.Nifti1Image(array, np.diag([1.5, 1.5, 8, 1])), path)
    label = LoadCased(classes={"left thalamus": 1001})(
        {"image": str(tmp_path / "images/a.nii.gz"), "label": str(path), "label_rule": "named"}
    )["label"][0]
    assert (label.numpy() == (array == 1001)).all()


def test_a_json_or_csv_file_lists_pairs(tmp_path):
    volume(tmp_path / "scans/x1.nii.gz")
    volume(tmp_path / "truth/y1.nii.gz", [1, 2])
    volume(tmp_path / "scans/x2.nii.gz")
    volume(tmp_path / "truth/y2.nii.gz", [1, 2])
    rows = [{"image": f"scans/x{n}.nii.gz", "label": f"truth/y{n}.nii.gz", "patient": "anna"} for n in (1, 2)]
    (tmp_path / "list.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "named.json").write_text(
        json.dumps({"training": rows, "labels": {"1": "head", "2": "tail"}}), encoding="utf-8"
    )
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["Image", "Label", "patient"], delimiter=";")
        writer.writeheader()
        writer.writerows({"Image": r["image"], "Label": r["label"], "patient": r["patient"]} for r in rows)
    for name, labels in (
        ("list.json", {1: "1", 2: "2"}),
        ("named.json", {1: "head", 2: "tail"}),
        ("list.csv", {1: "1", 2: "2"}),
    ):
        listing = find_own(tmp_path / name)
        assert listing.labels == labels
        assert [(case.case_id, case.patient_id) for case in listing.cases] == [("x1", "anna"), ("x2", "anna")]
    rows[1]["label"] = "truth/lost.nii.gz"
    (tmp_path / "list.json").write_text(json.dumps([*rows, {"image": "scans/x1.nii.gz"}]), encoding="utf-8")
    with pytest.raises(
        DatasetError,
        match=r"(?s)lost\.nii\.gz: no such file or folder; list\.json names it.*entry 3 must name image and label",
    ):
        own_datalist(tmp_path / "list.json")


def dicom_series(folder, slices=3):
    folder.mkdir(parents=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(slices):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = pydicom.Dataset()
        data.file_meta, data.SOPClassUID, data.SOPInstanceUID = meta, CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.PatientID, data.InstanceNumber = "CT", "p", number + 1
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 2.0 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness, data.Rows, data.Columns = [1, 1], 2, 8, 6
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, -1000
        data.PixelData = np.full((8, 6), 1000 + number, np.int16).tobytes()
        data.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def test_dicom_series_lie_beside_their_label_maps(tmp_path):
    from amsam_monai.data.files.images import read_image

    dicom_series(tmp_path / "images/case1")
    image = read_image(tmp_path / "images/case1")
    label = np.zeros(image.array.shape, np.uint8)
    label[1:3, 2:5, 1] = 1
    (tmp_path / "labels").mkdir()
    nib.save(nib.Nifti1Image(label, image.affine), tmp_path / "labels/case1.nii.gz")
    item = own_datalist(tmp_path, labels={1: "node"})[0]
    assert item["image"] == str(tmp_path / "images/case1")
    read = LoadCased(classes={"node": 1})(item)
    assert (read["label"][0].numpy() == label).all()


SHAPES = [
    {"label": "cell", "shape_type": "rectangle", "points": [[5, 5], [15, 10]]},
    {"label": "cell", "points": [[20, 2], [28, 2], [28, 8], [20, 8]]},
    {"label": "blood", "shape_type": "circle", "points": [[10, 15], [13, 15]]},
    {"label": "remark", "shape_type": "point", "points": [[1, 1]]},
]


def test_labelme_s_outlines_become_masks(tmp_path):
    pytest.importorskip("pycocotools")
    picture(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": SHAPES[:3]}), encoding="utf-8")
    listing = find_own(tmp_path)
    assert listing.labels == {1: "blood", 2: "cell"}
    label = LoadCased(classes={"cell": 2, "blood": 1})(own_datalist(tmp_path)[0])["label"][0]
    assert int((label == 1).sum()) == 10 * 5 + 8 * 6
    assert 20 < int((label == 2).sum()) < 36  # pi * 3 * 3 = 28


def test_coco_s_outlines_become_masks(tmp_path):
    pytest.importorskip("pycocotools")
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "images/b.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}],
        "categories": [{"id": 3, "name": "cell"}, {"id": 5, "name": "never drawn"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [[5, 5, 15, 5, 15, 10, 5, 10]]},
            {"id": 2, "image_id": 7, "category_id": 3, "segmentation": {"size": [20, 30], "counts": [0, 4, 596]}},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content), encoding="utf-8")
    listing = find_own(tmp_path / "coco.json")
    assert listing.labels == {1: "cell"}
    assert "1 pictures without outlines were left out" in listing.notes
    label = LoadCased(classes={"cell": 1})(own_datalist(tmp_path)[0])["label"][0]
    assert int(label.sum()) == 50 + 4
    assert label[:4, 0].all()


def test_patients_come_from_a_pattern_of_the_names(tmp_path):
    for name in ("01_L", "01_R", "02_L"):
        picture(tmp_path / f"images/{name}.png")
        picture(tmp_path / f"labels/{name}.png", square())
    assert [case.patient_id for case in find_own(tmp_path, patients="(.+)_[LR]").cases] == ["01", "01", "02"]
    assert "each counts as a patient of its own" in said(find_own(tmp_path))


def empty(root):
    root.mkdir(exist_ok=True)


def no_foreground(root):
    volume(root / "images/a.nii.gz")
    volume(root / "labels/a.nii.gz", [])


def lost_label(root):
    decathlon(root)
    (root / "labelsTr/la_001.nii.gz").unlink()


def images_alone(root):
    volume(root / "imagesTr/a.nii.gz")


def other_geometry(root):
    volume(root / "images/a.nii.gz")
    path = root / "labels/a.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), path)


def damaged_declaration(root):
    decathlon(root)
    (root / "dataset.json").write_text("{half", encoding="utf-8")


def images_for_labels(root):
    for folder in ("images", "labels"):
        picture(root / folder / "a.png", np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8))


def two_data_sets(root):
    for one in ("first", "second"):
        volume(root / one / "images/a.nii.gz")
        volume(root / one / "labels/a.nii.gz", [1])


def twins(root):
    volume(root / "images/a.nii.gz")
    volume(root / "images/a_image.nii.gz")
    volume(root / "labels/a.nii.gz", [1])


def missing_class(root):
    decathlon(root, values=[1], declared={"labels": {"1": "head", "2": "tail"}})


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (empty, "no data set here; found an empty folder, expected one of"),
        (no_foreground, "all labels are empty; at least one must hold a class"),
        (lost_label, "la_001.nii.gz: must have a label, found none called la_001"),
        (images_alone, "must hold labelsTr/ beside imagesTr/"),
        (other_geometry, "a.nii.gz"),
        (damaged_declaration, "dataset.json: must be JSON"),
        (images_for_labels, "labels hold [0-9]+ values; are these images, or ids of objects"),
        (two_data_sets, "data set must be one, found 2: .*first, .*second; choose one"),
        (twins, "must be the only image called a"),
        (missing_class, r"no label holds 2 \(tail\); labels hold \[1\]"),
    ],
)
def test_what_is_laid_out_wrongly_is_refused_with_a_sentence(tmp_path, layout, message):
    layout(tmp_path)
    with pytest.raises((DatasetError, FileNotFoundError), match=message):
        own_datalist(tmp_path)


def test_prepare_takes_data_of_one_s_own(tmp_path):
    decathlon(tmp_path / "in", declared={"labels": {"1": "head", "2": "tail"}})
    report = prepare("own", tmp_path / "in", tmp_path / "out").report
    assert report["cases"] == 2
    assert [row["name"] for row in report["labels"]] == ["head", "tail"]
    again = find_own(tmp_path / "out" / "dataset.json")
    assert [case.case_id for case in again.cases] == ["la_000", "la_001"]
    assert again.labels == {1: "head", 2: "tail"}
