"""A real MONAI Label server without network, driven over HTTP as 3D Slicer and OHIF drive it."""

import gzip
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.label_app.nano_bundle import write_bright_bundle, write_nano_bundle
from tests.label_app.test_service import save_ball
from tests.segment.toy import oblique, stored_as

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")
import requests

pytestmark = pytest.mark.label

ROOT = Path(__file__).parents[2]
UNLABELLED = {"p0", "p1", "p2", "series", "skin", "bars-RAS", "bars-LPS", "bars-oblique"}
PLANES = ("axial", "coronal", "sagittal")
AUTOMATIC, CLICKS, PICTURES = "nano_segmentation", "nano_segmentation_click", "skin_segmentation_click"


class Server:
    """A server process and its address."""

    def __init__(self, process, url, studies, log):
        self.process, self.url, self.studies, self.log = process, url, studies, log

    def post(self, path, **options):
        return requests.post(self.url + path, timeout=120, **options)

    def infer(self, model, image, output="json", **params):
        answer = self.post(
            f"/infer/{model}?image={image}&output={output}",
            data={"params": json.dumps({"client_id": "slicer", **params})},
        )
        return answer

    def alive(self):
        return self.process.poll() is None and requests.get(self.url + "/info/", timeout=60).status_code == 200


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("label")
    studies = root / "studies"
    studies.mkdir()
    for number in range(3):
        image = save_ball(studies / f"p{number}.nii.gz", (14 + 4 * number, 15, 3))
        (image.parent / f"label-{image.name}").rename(root / f"label{number}.nii.gz")
    write_bars(studies)
    write_picture(studies / "skin.png")
    write_dicom(studies / "series")
    (studies / "broken.nii.gz").write_bytes(b"not a volume")
    volumes = write_nano_bundle(root / "bundles", system="aisam_full")
    pictures = write_nano_bundle(
        root / "bundles", name="skin_segmentation", labels=("lesion",), data_type="png", intensity={"mode": "bit_depth"}
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    blocked = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    bright = [write_bright_bundle(root / "bundles", plane) for plane in PLANES]
    environment = {
        **os.environ,
        **blocked,
        "PYTHONPATH": str(ROOT),
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }
    log = open(root / "server.log", "w+")  # noqa: SIM115 - closed below
    command = [sys.executable, "-m", "amsam_monai", "label", "start", str(studies), "--port", str(port)]
    command += [part for one in (volumes, pictures, *bright) for part in ("--bundle", str(one))]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
    server = Server(process, f"http://127.0.0.1:{port}", studies, root / "server.log")
    server.root = root
    try:
        wait_until_it_answers(server)
        yield server
    finally:
        process.terminate()
        process.wait(30)
        log.close()
    with pytest.raises(requests.ConnectionError):  # nothing is left that serves
        requests.get(server.url + "/info/", timeout=60)


@pytest.fixture(autouse=True)
def _alive_afterwards(server):
    yield
    assert server.alive()


def wait_until_it_answers(server):
    """Wait for a minute or five, as long as the process lives."""
    for _ in range(600):
        time.sleep(0.5)
        assert server.process.poll() is None, server.log.read_text()[-3000:]
        try:
            if server.alive():
                return
        except requests.ConnectionError:
            continue
    pytest.fail(f"the server did not start: {server.log.read_text()[-3000:]}")


def write_bars(folder):
    """Bars of different length along every axis, stored in three ways."""
    volume = np.zeros((20, 18, 12), dtype=np.float32)
    volume[4:9, 3:13, 2:8] = 1
    volume[12:17, 5:9, 4:11] = 1
    straight = nib.Nifti1Image(volume, np.diag([1.0, 1.2, 2.0, 1.0]))
    nib.save(straight, folder / "bars-RAS.nii.gz")
    nib.save(stored_as(straight, "LPS"), folder / "bars-LPS.nii.gz")
    slanted = nib.Nifti1Image(volume, oblique(volume.shape, (1.0, 1.2, 2.0)))
    nib.save(stored_as(slanted, "PIR"), folder / "bars-oblique.nii.gz")


def write_picture(path):
    from PIL import Image

    picture = np.full((48, 64, 3), 200, dtype=np.uint8)
    picture[10:20, 40:55] = 60
    Image.fromarray(picture).save(path)


def write_dicom(folder):
    """Six slices of 24 x 20 as CT files."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(6):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.PatientID, data.PatientName = "CT", "p", "p"
        data.Rows, data.Columns, data.InstanceNumber = 24, 20, number + 1
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 5.0 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [1.5, 1.5], 5
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        pixels = np.zeros((24, 20), dtype=np.int16)
        pixels[8:16, 5:12] = 300
        data.PixelData = pixels.tobytes()
        data.is_little_endian, data.is_implicit_VR = True, False
        data.save_as(folder / f"{number}.dcm", write_like_original=False)


def label_of(answer):
    """The label map in an answer."""
    assert answer.status_code == 200, answer.text
    return nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))


def test_info_lists_every_bundle_twice(server):
    info = requests.get(server.url + "/info/", timeout=60).json()
    models = info["models"]
    bright = {f"bright_{plane}" for plane in PLANES}
    assert set(models) == {AUTOMATIC, CLICKS, "skin_segmentation", PICTURES, *bright, *(f"{b}_click" for b in bright)}
    assert (models[AUTOMATIC]["type"], models[AUTOMATIC]["dimension"]) == ("segmentation", 3)
    assert (models[CLICKS]["type"], models[CLICKS]["dimension"]) == ("deepgrow", 3)
    assert models[PICTURES]["dimension"] == 2
    assert list(models[CLICKS]["labels"]) == ["liver", "spleen"]
    assert {"least_certain", "most_diverse"} <= set(info["strategies"])
    assert AUTOMATIC in info["trainers"]
    assert info["datastore"]["total"] == 9


def test_automatic_segmentation_keeps_the_geometry(server):
    label = label_of(server.infer(AUTOMATIC, "p0", "image"))
    image = nib.load(server.studies / "p0.nii.gz")
    np.testing.assert_allclose(label.affine, image.affine)
    assert label.shape == image.shape


def test_slicers_click_gives_one_label_and_the_points(server):
    request = {"label": "liver", "foreground": [[14, 15, 3]], "background": [[1, 1, 3]], "reset_state": True}
    params = server.infer(CLICKS, "p0", **request).json()
    assert params["label_names"] == {"liver": 1}
    assert {"voxel": [14.0, 15.0, 3.0], "positive": True, "automatic": False} in params["points"]["liver"]
    label = np.asarray(label_of(server.infer(CLICKS, "p0", "image", **request)).dataobj)
    assert set(np.unique(label)) <= {0, 1}
    assert label[..., [0, 1, 2, 4, 5, 6]].sum() == 0
    both = server.infer(CLICKS, "p0", "all", **request, result_extension=".nrrd")
    assert both.status_code == 200
    assert "multipart" in both.headers["content-type"]
    assert b"NRRD" in both.content


def test_rois_in_both_orders_and_deepedits_points_are_taken(server):
    sorted_ = server.infer(CLICKS, "p1", label="liver", roi=[8, 28, 6, 24, 2, 4], client_id="roi1")
    swapped = server.infer(CLICKS, "p1", label="liver", roi=[28, 8, 24, 6, 4, 2], client_id="roi2")
    assert sorted_.json()["boxes"] == swapped.json()["boxes"]
    assert sorted_.json()["slices"] == [2, 3, 4]
    edit = server.infer(CLICKS, "p1", liver=[[18, 15, 3]], spleen=[[3, 3, 3]], background=[], client_id="edit")
    assert edit.status_code == 200
    assert edit.json()["slices"] == [3]


@pytest.mark.parametrize("stored", ["RAS", "LPS", "oblique"])
@pytest.mark.parametrize("plane", PLANES)
def test_a_click_lands_on_the_clicked_voxel_in_every_plane_and_orientation(server, plane, stored):
    image = nib.load(server.studies / f"bars-{stored}.nii.gz")
    bright = np.asarray(image.dataobj) > 0.5
    voxels = np.argwhere(bright)
    voxel = voxels[len(voxels) // 3].tolist()
    answer = server.infer(f"bright_{plane}_click", f"bars-{stored}", "image", foreground=[voxel], reset_state=True)
    label = np.asarray(label_of(answer).dataobj)
    np.testing.assert_allclose(label_of(answer).affine, image.affine)
    assert label[tuple(voxel)] == 1
    assert not label[~bright].any()
    (axis,) = (at for at in range(3) if (np.argwhere(label)[:, at] == voxel[at]).all())  # one slice, no other
    assert nib.aff2axcodes(image.affine)[axis] in {"axial": "SI", "coronal": "AP", "sagittal": "LR"}[plane]


def test_pictures_and_dicom_series_are_served(server):
    params = server.infer(PICTURES, "skin", label="lesion", foreground=[[47, 15, 0]], slice=0)
    assert params.json()["label_names"] == {"lesion": 1}
    picture = server.infer(PICTURES, "skin", "image", label="lesion", foreground=[[47, 15, 0]], slice=0)
    from PIL import Image

    assert Image.open(io.BytesIO(picture.content)).size == (64, 48)
    downloaded = label_of(requests.get(server.url + "/datastore/image?image=series", timeout=60))
    label = label_of(server.infer(CLICKS, "series", "image", label="liver", foreground=[[8, 12, 2]]))
    assert label.shape == downloaded.shape == (20, 24, 6)
    np.testing.assert_allclose(label.affine, downloaded.affine)


@pytest.mark.parametrize(
    ("model", "image", "params", "status", "message"),
    [
        (CLICKS, "nobody", {"label": "liver"}, 404, "no such image"),
        ("nothing", "p0", {}, 404, "model must be one of"),
        (CLICKS, "p0", {"label": "lung", "foreground": [[1, 1, 1]]}, 400, "label must be one of"),
        (CLICKS, "p0", {"label": "liver", "foreground": [[400, 1, 1]]}, 400, "inside the image"),
        (CLICKS, "p0", {"label": "liver", "foreground": "x"}, 400, "must be a list"),
        (CLICKS, "p0", {"label": "liver", "foreground": [], "slice": 99}, 400, "slice must be"),
        (CLICKS, "p0", {"label": "liver", "roi": [90, 95, 90, 95, 9, 9]}, 400, "roi must overlap"),
        (CLICKS, "p0", {"label": "liver", "result_extension": ".exe"}, 400, "result_extension"),
        (AUTOMATIC, "broken", {}, 400, "broken.nii.gz"),
    ],
)
def test_a_clients_mistake_is_a_4xx_with_a_message(server, model, image, params, status, message):
    answer = server.infer(model, image, **params)
    assert answer.status_code == status
    assert message in answer.json()["detail"]


def test_corrupt_uploads_and_parameters_are_refused(server):
    files = {"file": ("x.nii.gz", b"garbage")}
    assert server.post(f"/infer/{AUTOMATIC}?output=json", files=files, data={"params": "{}"}).status_code == 400
    assert server.post(f"/infer/{AUTOMATIC}?image=p0", data={"params": "{not json"}).status_code == 400
    assert server.post(f"/infer/{AUTOMATIC}", data={"params": "{}"}).status_code == 400
    upload = {"label": ("x.nii.gz", b"garbage")}
    assert requests.put(server.url + "/datastore/label?image=nobody", files=upload, timeout=60).status_code == 404
    assert server.post("/activelearning/nonsense", json={}).status_code == 404
    assert server.post("/train/nonsense", json={}).status_code == 404
    nothing = server.post(f"/train/{AUTOMATIC}", json={"max_epochs": 1})
    assert nothing.status_code == 400
    assert "no image has a final label" in nothing.json()["detail"]


def test_what_is_no_image_and_no_label_map_is_not_kept(server):
    def put(what, query, content, name="x.nii.gz"):
        return requests.put(f"{server.url}/datastore/{what}?{query}", files={FIELDS[what]: (name, content)}, timeout=60)

    FIELDS = {"image": "file", "label": "label"}
    assert put("label", "image=p2&tag=final", b"garbage").status_code == 400
    other = nib.Nifti1Image(np.zeros((3, 4, 5), dtype=np.uint8), np.eye(4))
    answer = put("label", "image=p2&tag=final", gzip.compress(other.to_bytes()))
    assert answer.status_code == 400
    assert "must have the image's shape (40, 36, 7)" in answer.json()["detail"]
    assert put("label", "image=p2&tag=../../x", b"garbage").status_code == 400
    assert put("image", "image=new", b"garbage").status_code == 400
    assert put("image", "image=../new", b"garbage").status_code == 400
    listed = requests.get(server.url + "/datastore/?output=all", timeout=60).json()
    assert "new" not in listed["objects"]
    assert "final" not in listed["objects"]["p2"].get("labels", {})


def test_an_uploaded_volume_is_segmented(server):
    with open(server.studies / "p2.nii.gz", "rb") as file:
        answer = server.post(f"/infer/{AUTOMATIC}?output=image", files={"file": ("u.nii.gz", file)})
    assert label_of(answer).shape == (40, 36, 7)


def test_two_clients_at_once_get_their_own_answers(server):
    answers = {}

    def click(client, image, voxel):
        for _ in range(3):
            request = {"label": "liver", "foreground": [voxel], "client_id": client}
            answers.setdefault(client, []).append(server.infer(CLICKS, image, "image", **request).content)

    threads = [threading.Thread(target=click, args=(f"c{n}", f"p{n}", [14 + 4 * n, 15, 3])) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrays = {client: [np.asarray(label_of(_answer(one)).dataobj) for one in got] for client, got in answers.items()}
    for got in arrays.values():
        assert len(got) == 3
        assert all((one == got[0]).all() for one in got)


def _answer(content):
    answer = requests.Response()
    answer.status_code, answer._content = 200, content
    return answer


def save_label(server, number, names):
    with open(server.root / f"label{number}.nii.gz", "rb") as file:
        info = {"label_info": [{"name": name, "idx": index} for index, name in enumerate(names, 1)]}
        return requests.put(
            server.url + f"/datastore/label?image=p{number}&tag=final",
            files={"label": (f"p{number}.nii.gz", file)},
            data={"params": json.dumps(info)},
            timeout=60,
        )


def test_labels_are_saved_trained_on_and_served(server):
    def next_case(strategy):
        return server.post(f"/activelearning/{strategy}", json={"client_id": "slicer"}).json()

    assert next_case("least_certain")["id"] in UNLABELLED
    assert save_label(server, 0, ["tumour"]).status_code == 200
    for path, body, message in (
        (AUTOMATIC, {"max_epochs": 1}, "a saved label must hold one of liver, spleen"),
        ("", {}, "a saved label must hold one of"),
        (AUTOMATIC, {"max_epochs": "many"}, "must be numbers"),
        (AUTOMATIC, {"val_split": 2}, "val_split must lie in"),
    ):
        refused = server.post(f"/train/{path}", json=body)
        assert refused.status_code == 400
        assert message in refused.json()["detail"]
    for number in range(2):
        answer = save_label(server, number, ["liver"])
        assert answer.status_code == 200, answer.text
    assert next_case("most_diverse")["id"] in UNLABELLED - {"p0", "p1"}
    before = label_of(server.infer(AUTOMATIC, "p2", "image")).get_fdata()
    body = {"max_epochs": 1, "steps_per_epoch": 40, "val_split": 0}
    assert server.post(f"/train/{AUTOMATIC}", json=body).status_code == 200
    for _ in range(240):
        time.sleep(0.5)
        task = requests.get(server.url + "/train/", timeout=60).json()
        if task["status"] in ("DONE", "ERROR"):
            break
    assert task["status"] == "DONE", task
    assert (label_of(server.infer(AUTOMATIC, "p2", "image")).get_fdata() != before).any()
    previous = server.studies / ".amsam_label" / "model" / AUTOMATIC / "models" / "previous"
    assert len(list(previous.iterdir())) == 1
