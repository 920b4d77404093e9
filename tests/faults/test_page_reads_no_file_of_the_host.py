"""A browser gets the cases of the page and what it sent itself, and no other file of the machine, by real requests."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.segment.toy_net import BrightRegions
from tests.session.test_session import two_bars

pytest.importorskip("gradio", reason="needs gradio")
pytestmark = pytest.mark.browser

SECRET = "nobody may read this"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with page_server(tmp_path_factory) as running:
        yield running


@contextmanager
def page_server(tmp_path_factory, **options):
    """A page on a free port: its address, the page, and files of the machine."""
    import uvicorn

    from amsam_monai.annotate.app import build_page
    from amsam_monai.annotate.hosting import application
    from amsam_monai.bundles.load import LoadedBundle
    from amsam_monai.gate import GateOptions

    root = tmp_path_factory.mktemp("page")
    nib.save(nib.Nifti1Image(two_bars(), np.diag([1.0, 1.0, 4.0, 1.0])), root / "a.nii.gz")
    (root / "out").mkdir()
    (root.parent / "elsewhere").mkdir(exist_ok=True)
    secret = root.parent / "elsewhere" / "secret.txt"
    secret.write_text(SECRET, encoding="utf-8")
    volume = root.parent / "elsewhere" / "other.nii.gz"
    nib.save(nib.Nifti1Image(two_bars(), np.eye(4)), volume)
    bundle = LoadedBundle("toy", root, BrightRegions(2), {1: "vessel", 2: "node"}, intensity={"mode": "none"})
    page = build_page(bundle, [root / "a.nii.gz"], root / "out")
    app = application(page, allowed=[root / "out"], gate=GateOptions(**options))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}", page, {"case": root / "a.nii.gz", "secret": secret, "volume": volume}
    running.should_exit = True
    thread.join()


def ask(url, body=None):
    """Status and text of a request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def call(address, page, listener, data):
    """Join the page's queue as a browser does, and give all that its event stream says."""
    number = next(index for index, one in page.fns.items() if one.name == listener)
    body = {"data": data, "fn_index": number, "session_hash": "thief", "event_data": None, "trigger_id": None}
    status, text = ask(f"{address}/gradio_api/queue/join", body)
    if status != 200:
        return text
    return ask(f"{address}/gradio_api/queue/data?session_hash=thief")[1]


def file_value(path):
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": path.name, "size": 20}


def test_a_path_in_the_place_of_an_upload_is_refused(server):
    address, page, files = server
    said = call(address, page, "upload_case", [file_value(files["secret"])])
    assert SECRET not in said
    assert '"success":false' in said.replace(" ", "")
    for name in (files["secret"], "/etc/passwd"):
        status, text = ask(f"{address}/gradio_api/file={name}")
        assert status in (403, 404)
        assert SECRET not in text
        assert "root:" not in text


def test_a_path_in_the_place_of_a_case_is_refused(server):
    address, page, files = server
    said = call(address, page, "open_case", [str(files["volume"])])
    assert "own points and masks" not in said
    assert '"success":false' in said.replace(" ", "") or "must be one of the cases" in said
    assert "own points and masks" in call(address, page, "open_case", [str(files["case"])])


def test_a_file_that_the_browser_sent_is_opened(server):
    address, page, files = server
    edge = "limit"
    body = b"".join(
        [
            f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="b.nii.gz"\r\n'.encode(),
            b"Content-Type: application/gzip\r\n\r\n",
            files["case"].read_bytes(),
            f"\r\n--{edge}--\r\n".encode(),
        ]
    )
    request = urllib.request.Request(
        f"{address}/gradio_api/upload", body, {"Content-Type": f"multipart/form-data; boundary={edge}"}
    )
    with urllib.request.urlopen(request) as answer:
        (path,) = json.loads(answer.read())
    said = call(address, page, "upload_case", [file_value(Path(path))])
    assert '"success":true' in said.replace(" ", "")
    assert "b.nii.gz" in said
