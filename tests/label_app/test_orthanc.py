"""`amsam label start` on a real Orthanc: list, infer, click, save, train, and the SEG read back."""

import gzip
import io
import json
import shutil
import subprocess
import time

import nibabel as nib
import numpy as np
import pydicom
import pytest

from tests.label_app.orthanc import orthanc, send, write_mr_ball
from tests.label_app.serving import requests, serving
from tests.label_app.trainable_bundle import write_trainable_bundle

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")

from amsam_monai.label_app.dicomweb_server import DicomWebServer

pytestmark = pytest.mark.label

CLASSES = ("RV", "Myo", "LV")
MODEL, CLICKS = "nano_segmentation", "nano_segmentation_click"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """A label server on an Orthanc with three series; `balls` holds what is bright in each."""
    root = tmp_path_factory.mktemp("hospital")
    bundle = write_trainable_bundle(root / "bundles", "amsam", name=MODEL, classes="{RV: 1, Myo: 2, LV: 3}")
    with orthanc(root) as url:
        balls = {}
        for number in range(3):
            ball, uid = write_mr_ball(root / f"s{number}", (14 + 4 * number, 15, 3), f"patient{number}", number)
            balls[uid] = ball
            send(url, root / f"s{number}")
        options = ("--app-dir", str(root / "app"), "--modality", "MR", "--search", "StudyDescription=heart")
        with serving(root, url, [bundle], *options) as server:
            server.orthanc, server.balls, server.series = url, balls, list(balls)
            yield server


def volume_of(answer):
    assert answer.status_code == 200, answer.text
    return nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))


def save(hospital, image, label, names, affine=None, **query):
    affine = hospital.affine if affine is None else affine
    content = gzip.compress(nib.Nifti1Image(label.astype(np.uint8), affine).to_bytes())
    info = {"label_info": [{"name": name, "idx": value} for value, name in names.items()]}
    return requests.put(
        hospital.url + "/datastore/label",
        params={"image": image, **query},
        files={"label": ("label.nii.gz", content)},
        data={"params": json.dumps(info)},
        timeout=120,
    )


def segmentations(hospital):
    """Every SEG on the Orthanc, by the series that it refers to, the newest last."""
    found = {}
    rest = hospital.orthanc.replace("/dicom-web", "")
    for one in requests.get(f"{rest}/instances?expand", timeout=60).json():
        data = pydicom.dcmread(io.BytesIO(requests.get(f"{rest}/instances/{one['ID']}/file", timeout=60).content))
        if data.Modality == "SEG":
            found.setdefault(data.ReferencedSeriesSequence[0].SeriesInstanceUID, []).append(data)
    return {uid: sorted(ones, key=lambda data: data.ContentTime) for uid, ones in found.items()}


def voxels_by_name(data):
    """Segment label -> voxels, and its code."""
    labels = {one.SegmentNumber: one.SegmentLabel for one in data.SegmentSequence}
    counts = dict.fromkeys(labels.values(), 0)
    frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    for frame, groups in zip(frames, data.PerFrameFunctionalGroupsSequence, strict=True):
        counts[labels[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber]] += int(frame.sum())
    return counts


def test_mr_series_are_listed_and_segmented_in_their_own_voxels(hospital):
    listed = requests.get(hospital.url + "/datastore/?output=all", timeout=60).json()["objects"]
    assert set(listed) == set(hospital.series)
    assert requests.get(hospital.url + "/info/", timeout=60).json()["datastore"]["total"] == 3
    uid = hospital.series[0]
    copy = volume_of(requests.get(hospital.url + f"/datastore/image?image={uid}", timeout=60))
    hospital.affine = copy.affine
    np.testing.assert_array_equal(np.asarray(copy.dataobj) > 50, hospital.balls[uid])
    label = volume_of(hospital.infer(MODEL, uid, "image"))
    np.testing.assert_allclose(label.affine, copy.affine)
    assert label.shape == (40, 36, 7)
    points = {"RV": [[14, 15, 3]], "Myo": [], "LV": [], "background": [[2, 2, 3]]}
    assert hospital.infer(CLICKS, uid, **points).json()["slices"] == [3]
    sample = hospital.post("/activelearning/first", json={}).json()
    assert sample["name"].endswith(".nii.gz")
    assert sample["PatientID"].startswith("patient")


def test_a_saved_label_is_a_seg_of_the_right_organs(hospital):
    """With no RV drawn, the myocardium stays the myocardium."""
    uid = hospital.series[0]
    ball = hospital.balls[uid]
    label = np.where(ball, 2, 0)
    label[..., :2] = np.where(ball[..., :2], 3, 0)
    answer = save(hospital, uid, label, dict(enumerate(CLASSES, 1)))
    assert answer.status_code == 200, answer.text
    data = segmentations(hospital)[uid][-1]
    assert voxels_by_name(data) == {"RV": 0, "Myo": int((label == 2).sum()), "LV": int((label == 3).sum())}
    codes = [one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in data.SegmentSequence]
    assert codes == ["53085002", "49848007", "87878005"]
    status = requests.get(hospital.url + "/info/", timeout=60).json()["datastore"]
    assert (status["total"], status["completed"]) == (3, 1)
    kept = volume_of(requests.get(hospital.url + f"/datastore/label?label={uid}&tag=final", timeout=60))
    np.testing.assert_array_equal(np.asarray(kept.dataobj), label)


def test_an_answer_is_given_as_dicom_seg(hospital, tmp_path):
    answer = hospital.infer(MODEL, hospital.series[1], "dicom_seg")
    assert answer.status_code == 200, answer.text
    data = pydicom.dcmread(io.BytesIO(answer.content))
    plain = np.asarray(volume_of(hospital.infer(MODEL, hospital.series[1], "image")).dataobj)
    assert voxels_by_name(data) == {name: int((plain == value).sum()) for value, name in enumerate(CLASSES, 1)}
    for number, one in enumerate([data, *(seg for ones in segmentations(hospital).values() for seg in ones)]):
        one.save_as(tmp_path / f"{number}.dcm")
        if shutil.which("dciodvfy"):
            said = subprocess.run(["dciodvfy", "-new", tmp_path / f"{number}.dcm"], capture_output=True, text=True)
            assert "Error" not in said.stderr


def test_a_label_of_another_geometry_is_refused(hospital):
    uid = hospital.series[1]
    moved = hospital.affine.copy()
    moved[2, 3] += 12
    answer = save(hospital, uid, hospital.balls[uid], {1: "LV"}, moved)
    assert answer.status_code == 400
    assert "label must lie where its image lies" in answer.json()["detail"]
    assert save(hospital, "1.2.3", hospital.balls[uid], {1: "LV"}).status_code == 404
    for tag in ("../../out", "/tmp/out", "a/b"):
        answer = save(hospital, uid, hospital.balls[uid], {1: "LV"}, tag=tag)
        assert answer.status_code == 400
        assert "tag must be a plain name" in answer.json()["detail"]
    assert save(hospital, uid, hospital.balls[uid] * 7, {1: "LV"}).status_code == 400
    assert uid not in segmentations(hospital)


def test_another_makers_seg_is_trained_on_and_the_newest_counts(hospital):
    """Labels are read from the server, whoever stored them, and each under its name."""
    for uid in hospital.series[:2]:
        assert save(hospital, uid, hospital.balls[uid] * 5, {5: "LV", 6: "RV"}).status_code == 200
    shutil.rmtree(next((hospital.root / "app" / "dicomweb").iterdir()) / "labels" / "final")
    before = np.asarray(volume_of(hospital.infer(MODEL, hospital.series[2], "image")).dataobj)
    body = {"max_epochs": 4, "steps_per_epoch": 4, "val_split": 0}
    answer = hospital.post(f"/train/{MODEL}", json=body)
    assert answer.status_code == 200, answer.text
    for _ in range(480):
        time.sleep(0.5)
        task = requests.get(hospital.url + "/train/", timeout=60).json()
        if task["status"] in ("DONE", "ERROR"):
            break
    assert task["status"] == "DONE", hospital.log()[-3000:]
    after = np.asarray(volume_of(hospital.infer(MODEL, hospital.series[2], "image")).dataobj)
    assert (before != after).any()
    pairs = requests.get(hospital.url + "/datastore/?output=train", timeout=60).json()
    for pair in pairs:
        np.testing.assert_array_equal(
            np.asarray(nib.load(pair["label"]).dataobj) > 0, np.asarray(nib.load(pair["image"]).dataobj) > 50
        )
    assert len(pairs) == 2


def test_no_uid_that_a_sender_chose_is_a_path(hospital, tmp_path):
    """Files and folders of what is fetched are named by UIDs."""
    write_mr_ball(tmp_path / "good", (14, 15, 3), "stranger", 7)
    made = [pydicom.dcmread(path) for path in sorted((tmp_path / "good").iterdir())[:2]]
    for number, (data, series, instance) in enumerate(
        zip(made, (f"{made[0].SeriesInstanceUID}.1", "../../folder"), ("../../file", "1.2.3.4"), strict=True)
    ):
        data.SeriesInstanceUID, data.SOPInstanceUID = series, instance
        data.file_meta.MediaStorageSOPInstanceUID = instance
        (tmp_path / str(number)).mkdir()
        data.save_as(tmp_path / str(number) / "a.dcm")
        send(hospital.orthanc, tmp_path / str(number))
    server = DicomWebServer(hospital.orthanc)
    offered = server.series()
    assert "../../folder" not in offered
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"SOPInstanceUID must be a plain name .*got '\.\./\.\./file'"):
        server.fetch(offered[made[0].SeriesInstanceUID], tmp_path / "deep" / "er" / "series")
    assert not [path for path in tmp_path.rglob("*") if path.name in ("file.dcm", "folder", "series")]


def test_nothing_was_asked_of_the_network(hospital):
    assert not list((hospital.root / "app" / "bin").glob("*"))  # where MONAI Label puts the tool that it downloads
