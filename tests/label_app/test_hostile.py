"""What a client sends is bounded, refused before it is unpacked, cleaned away, and holds up nobody else."""

import http.client
import io
import json
import re
import shutil
import struct
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.label_app.nano_bundle import write_nano_bundle
from tests.label_app.test_service import save_ball

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")
from fastapi import HTTPException

from amsam_monai.label_app.lane import Lane
from tests.label_app.serving import requests, serving

pytestmark = pytest.mark.label

MODEL, CLICKS = "nano_segmentation", "nano_segmentation_click"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with two places in its lane."""
    root = tmp_path_factory.mktemp("hostile")
    studies = root / "studies"
    studies.mkdir()
    for number in range(2):
        save_ball(studies / f"p{number}.nii.gz").parent.joinpath(f"label-p{number}.nii.gz").unlink()
    bundle = write_nano_bundle(root / "bundles", system="aisam")
    with serving(root, studies, [bundle], "--queue", "2") as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_is_left(server):
    """No upload stays on the disk, whatever became of it."""
    yield
    assert server.alive()
    assert not [path for path in server.left() if path.name.startswith("amsam-upload-")]


def put_image(server, name, content, image):
    files = {"file": (name, content)}
    return requests.put(f"{server.url}/datastore/?image={image}", files=files, timeout=60)


def test_an_id_is_that_of_one_image(server):
    content = (server.studies / "p0.nii.gz").read_bytes()
    assert put_image(server, "x.nii.gz", content, "p0").json() == {"image": "p0"}  # the same bytes once more
    other = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)).to_bytes()
    answer = put_image(server, "x.nii", other, "p0")
    assert answer.status_code == 400
    assert "an id must be that of one image, 'p0' is another's" in answer.json()["detail"]
    assert (server.studies / "p0.nii.gz").read_bytes() == content
    assert not (server.studies / "p0.nii").exists()


def test_an_upload_points_to_no_other_file(server):
    header = "ObjectType = Image\nNDims = 2\nDimSize = 16 16\nElementType = MET_UCHAR\nElementDataFile = {}\n"
    (folder,) = server.temporary.glob("amsam-server-*")
    beside = folder / "amsam-beside.raw"
    beside.write_bytes(bytes(256))
    try:
        for place in (beside.name, str(beside), "../" + beside.name):
            files = {"file": ("x.mhd", header.format(place).encode())}
            answer = server.post(f"/infer/{MODEL}?output=json", files=files, data={"params": "{}"})
            assert answer.status_code == 400, place
            assert put_image(server, "x.mhd", header.format(place).encode(), "pointing").status_code == 400
    finally:
        beside.unlink()


def bomb(declared):
    """A zip of a few bytes that declares so many."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.dcm", b"0")
    content = bytearray(made.getvalue())
    place = content.index(b"PK\x01\x02") + 24  # of the size when unpacked, in the list at the end
    content[place : place + 4] = struct.pack("<I", declared)
    return bytes(content)


def test_an_archive_that_unpacks_to_more_than_an_image_is_refused_packed(server):
    for content, status, message in (
        (bomb(0xFFFFFFF0), 413, "declares 4294967280"),
        (b"PK", 400, "must be a zip file"),
    ):
        files = {"files": ("x.zip", content)}
        answer = requests.put(f"{server.url}/session/?uncompress=true", files=files, timeout=60)
        assert answer.status_code == status
        assert message in answer.json()["detail"]
    image = io.BytesIO()
    with zipfile.ZipFile(image, "w") as archive:
        archive.write(server.studies / "p0.nii.gz", "p0.nii.gz")
    files = {"files": ("x.zip", image.getvalue())}
    assert requests.put(f"{server.url}/session/?uncompress=true", files=files, timeout=60).status_code == 200


def test_an_archive_of_another_kind_that_ends_as_a_zip_is_not_unpacked(server):
    """Of a file that is both, the name would decide: tar puts files where it is told to."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for place in ("../escaped", "../../escaped", str(server.root / "escaped")):
            archive.add(server.studies / "p0.nii.gz", place)
    for name in ("x.tar", "x.zip.tar"):
        files = {"files": (name, made.getvalue() + bomb(1))}
        answer = requests.put(f"{server.url}/session/?uncompress=true", files=files, timeout=60)
        assert answer.status_code == 400
        assert "whose name ends in .zip" in answer.json()["detail"]
    assert not list(server.root.rglob("escaped"))


def test_a_sessions_id_is_no_path(server):
    """Files that a client sends together lie in a folder of the session, where they could pass for its notes."""
    notes = {"image": str(server.root / "label0.nii.gz"), "name": "x", "path": str(server.root), "expiry": 3600}
    shutil.copy(server.studies / "p0.nii.gz", notes["image"])
    files = [("files", ("meta.info", json.dumps(notes).encode())), ("files", ("x.nii.gz", b"x"))]
    made = requests.put(f"{server.url}/session/", files=files, timeout=60).json()
    own = made["session_id"]
    store = server.studies / ".amsam_label" / "sessions"
    assert store.stat().st_mode & 0o077 == 0
    folder = Path(made["session_info"]["image"])
    assert folder == store / own / folder.name
    for session in (f"{own}/{folder.name}", str(folder), f"../sessions/{own}", ".."):
        for query in (f"/infer/{MODEL}?output=json&session_id={session}", f"/infer/{CLICKS}?session_id={session}"):
            answer = server.post(query, data={"params": "{}"})
            assert (answer.status_code, answer.json()["detail"][:24]) == (404, "there is no such session"), session
    for ask in (requests.get, requests.delete):
        assert ask(f"{server.url}/session/%2e%2e", timeout=60).status_code == 404
    assert requests.get(f"{server.url}/session/{own}", timeout=60).status_code == 200
    assert requests.get(f"{server.url}/session/{own}?image=true", timeout=60).status_code == 400
    assert requests.delete(f"{server.url}/session/{own}", timeout=60).status_code == 200
    assert requests.get(f"{server.url}/session/{own}", timeout=60).status_code == 404


def test_a_body_of_more_than_is_taken_is_refused_before_it_is_read(server):
    assert server.post(f"/train/{MODEL}", json={"note": "a" * 17 * 2**20}).status_code == 413
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.putrequest("PUT", "/datastore/?image=large")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10**15))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "AMSAM_MAX_PIXELS of the server raises it" in json.loads(answer.read())["detail"]
    connection.close()


def test_a_label_that_cannot_be_written_is_refused_in_words_without_a_path(server):
    """The folder of labels is a file now, which holds for root too."""
    image = nib.load(server.studies / "p0.nii.gz")
    label = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine).to_bytes()
    place = server.studies / "labels"
    kept = place.exists() and place.rename(server.root / "labels")
    place.touch()
    try:
        answer = requests.put(
            f"{server.url}/datastore/label?image=p0",
            files={"label": ("x.nii", label)},
            data={"params": "{}"},
            timeout=60,
        )
    finally:
        place.unlink()
        if kept:
            kept.rename(place)
    assert answer.status_code == 500
    assert re.search(r"cannot read or write its files \((Not a directory|File exists)\)", answer.json()["detail"])
    assert str(server.studies) not in answer.text
    answer = requests.put(
        f"{server.url}/datastore/label?image=p0", files={"label": ("x.nii", label)}, data={"params": "{}"}, timeout=60
    )
    assert answer.status_code == 200, answer.text


def test_no_answer_tells_where_files_lie(server):
    answers = [put_image(server, "a.png", b"no picture", "none")]
    for tag in ("final", "../x"):
        url = f"{server.url}/datastore/label?image=p0&tag={tag}"
        answers.append(requests.put(url, files={"label": ("a.nrrd", b"NRRD0004\n")}, timeout=60))
    answers.append(server.post(f"/infer/{MODEL}", files={"file": ("a.mha", b"none")}))
    for answer in answers:
        assert answer.status_code == 400, answer.text
        assert str(server.root) not in answer.text
        assert "/tmp" not in answer.text


@pytest.mark.parametrize("path", ["..", "%2e%2e", ".", "assets", "x" * 300, "no-such-file"])
def test_the_viewers_folders_are_its_page(server, path):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.request("GET", f"/ohif/{path}")
    answer = connection.getresponse()
    assert answer.status == 200
    assert b"<html" in answer.read()


def test_addresses_that_would_keep_what_a_client_sends_are_shut(server):
    before = server.left()
    files = {"file": ("x.pt", b"weights of a stranger")}
    weights = server.studies / ".amsam_label" / "model" / MODEL / "models" / "model.pt"
    content = weights.read_bytes()
    assert requests.put(f"{server.url}/model/{MODEL}", files=files, timeout=60).status_code == 404
    assert requests.delete(f"{server.url}/model/{MODEL}", timeout=60).status_code == 404
    assert server.post(f"/infer/wsi/{MODEL}", files=files).status_code == 404
    assert server.post("/reload").status_code == 404
    for path in (f"/batch/infer/{MODEL}", "/scoring/", "/scoring/dice"):  # would start processes
        assert server.post(path, json={"file": "/etc/passwd"}).status_code == 404
    assert requests.get(f"{server.url}/info/", timeout=60).status_code == 200
    assert weights.read_bytes() == content
    assert {path.name for path in server.left() - before if path.suffix in (".pt", ".png")} == set()


def test_an_archive_of_the_studies_goes_once_it_is_sent(server):
    image = nib.load(server.studies / "p1.nii.gz")
    label = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine).to_bytes()
    saved = requests.put(
        f"{server.url}/datastore/label?image=p1", files={"label": ("x.nii", label)}, data={"params": "{}"}, timeout=60
    )
    assert saved.status_code == 200, saved.text
    before = server.left()
    answer = requests.get(f"{server.url}/datastore/dataset", timeout=60)
    assert answer.status_code == 200
    assert any("p1" in name for name in zipfile.ZipFile(io.BytesIO(answer.content)).namelist())
    while [path for path in server.left() - before if path.is_file() and zipfile.is_zipfile(path)]:
        time.sleep(0.05)  # it goes after the answer; pytest's time-out ends a wait for nothing


def test_the_dicom_proxy_of_a_folder_asks_nobody_and_tells_no_path(server):
    for path in ("wado/studies", "qido/../../etc/passwd", "http://127.0.0.1:9/"):
        answer = requests.get(f"{server.url}/proxy/dicom/{path}", timeout=60)
        assert answer.status_code == 404
        assert str(server.studies) not in answer.text


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("studies/1.2.3/series", False),
        ("studies?PatientID=..", False),
        ("studies/../../instances", True),
        ("studies/%2e%2e/tools/execute-script", True),
        ("studies/%252e%252e/tools", True),
        ("..\\tools", True),
        ("@evil.example/x", True),
        ("/etc", True),
    ],
)
def test_a_proxied_path_stays_below_the_dicomweb_address(path, out):
    from amsam_monai.label_app.other_endpoints import leads_out

    assert leads_out(path) is out


def test_numbers_that_json_has_not_are_refused_at_the_address_of_older_clients_too(server):
    for params in ('{"a": NaN}', "[1]", '{"label_info": 3}'):
        address = f"{server.url}/datastore/updatelabelinfo?label=p1&tag=final"
        assert requests.put(address, data={"params": params}, timeout=60).status_code in (400, 404), params
    assert requests.get(f"{server.url}/datastore/?output=all", timeout=60).status_code == 200


def test_more_points_than_anybody_sets_are_refused(server):
    answer = server.infer(CLICKS, "p0", label="liver", foreground=[[20, 15, 3]] * 10_000)
    assert answer.status_code == 400
    assert "foreground must hold at most 1000 points, got 10000" in answer.json()["detail"]


def test_a_lane_has_its_places_and_gives_them_back():
    lane = Lane(1)
    for _ in range(2):
        with lane.place():
            with pytest.raises(HTTPException, match="1 requests wait already; ask again in a moment") as refused:
                lane.place().__enter__()
            assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "1"})
    with pytest.raises(ValueError, match="places must be at least 1, got 0"):
        Lane(0)


def test_more_requests_than_places_are_told_to_come_again_and_none_is_lost(server):
    answers = []

    def ask(client):
        answer = server.infer(MODEL, f"p{client % 2}", "json", client_id=f"c{client}")
        answers.append((answer.status_code, answer.headers.get("Retry-After")))

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert {status for status, _ in answers} == {200, 429}
    assert all(wait == "1" for status, wait in answers if status == 429)
    assert server.infer(MODEL, "p0", "json").status_code == 200


def test_clients_that_send_slowly_hold_up_nobody(server):
    """Their bodies never come, so that they take no place, nor a thread."""
    address = server.url.removeprefix("http://")
    slow = [http.client.HTTPConnection(address) for _ in range(50)]
    for connection in slow:
        connection.putrequest("POST", f"/infer/{MODEL}?image=p0")
        connection.putheader("Content-Type", "application/x-www-form-urlencoded")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"params=")
    assert requests.get(server.url + "/info/", timeout=60).status_code == 200
    assert server.infer(MODEL, "p0", "json").status_code == 200
    for connection in slow:
        connection.close()
