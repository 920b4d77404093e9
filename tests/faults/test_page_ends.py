"""`amsam annotate` as a process that is told to end while a page is open, or is killed."""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import nibabel as nib
import pytest

from tests.label_app.nano_bundle import write_nano_bundle
from tests.label_app.test_service import save_ball

pytest.importorskip("gradio", reason="needs gradio")
from tests.annotate.browsing import annotating

pytestmark = pytest.mark.browser


def post(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def act(url, config, name, data, tab="tab"):
    """What the page says to an action."""
    number = next(one["id"] for one in config["dependencies"] if one["api_name"] == name)
    body = {"data": data, "fn_index": number, "session_hash": tab, "event_data": None, "trigger_id": None}
    post(url, "/gradio_api/queue/join", body)
    with urllib.request.urlopen(f"{url}/gradio_api/queue/data?session_hash={tab}") as answer:
        return answer.read().decode()


def test_unsaved_work_is_kept_and_nothing_is_left_when_the_server_ends_with_a_page_open(tmp_path, monkeypatch):
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)  # of this process's own pages
    (tmp_path / "cases").mkdir()
    image = save_ball(tmp_path / "cases" / "ball.nii.gz")
    (image.parent / "label-ball.nii.gz").unlink()
    before = set(Path(tempfile.gettempdir()).glob("amsam-page-*"))
    bundle = write_nano_bundle(tmp_path / "bundles", system="aisam")
    with annotating(tmp_path, bundle) as url:
        with urllib.request.urlopen(url + "/config") as answer:
            config = json.loads(answer.read())
        assert "own points and masks" in act(url, config, "open_case", [str(image.resolve())])
        beats = http.client.HTTPConnection(url.removeprefix("http://"))
        beats.request("GET", "/gradio_api/heartbeat/tab")
        assert beats.getresponse().read(5) == b"data:"
        click = json.dumps({"view": "main-view", "from": [0.5, 0.5], "to": None, "at": 1})
        relay = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "relay")
        name = next(one["api_name"] for one in config["dependencies"] if relay in one["inputs"])
        assert "Added to liver" in act(url, config, name, [click])
        assert set(Path(tempfile.gettempdir()).glob("amsam-page-*")) - before
    assert nib.load(tmp_path / "out" / ".unsaved" / "ball_label.nii.gz").shape == (40, 36, 7)
    points = json.loads((tmp_path / "out" / ".unsaved" / "ball_label.session.json").read_text(encoding="utf-8"))
    assert points["slices"]
    assert set(Path(tempfile.gettempdir()).glob("amsam-page-*")) <= before
    beats.close()


SCRIPT = "from amsam_monai.annotate.browser_files import browser_files; print(browser_files(), flush=True); input()"


def page_folder():
    """A process that holds a folder, and the folder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("GRADIO_TEMP_DIR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


def test_the_next_page_removes_what_a_killed_one_left_and_no_other(tmp_path):
    (living, one), (killed, other) = page_folder(), page_folder()
    (other / "upload").mkdir()
    assert one.stat().st_mode & 0o077 == 0  # nobody else reads what browsers send
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert other.is_dir()
    last, third = page_folder()
    assert (one.is_dir(), other.exists(), third.is_dir()) == (True, False, True)
    for process in (living, last):
        process.communicate("\n")
    assert not one.exists()
    assert not third.exists()
