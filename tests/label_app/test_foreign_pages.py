"""A page of another server, in a real browser, neither reads from the label server nor deletes on it."""

import http.server
import shutil
import subprocess
import threading

import pytest

from tests.label_app.nano_bundle import write_nano_bundle
from tests.label_app.serving import requests, serving
from tests.label_app.test_service import save_balls

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.label, pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")]

PAGE = """<!doctype html><p id="said"></p><script>
const ask = (path, how) => fetch('{server}' + path, how).then(answer => answer.text(), error => 'refused');
Promise.all([
  ask('/info/', {{credentials: 'include'}}),
  ask('/datastore/?id=p0', {{method: 'DELETE', credentials: 'include'}}),
  ask('/infer/nano_segmentation?image=p0', {{method: 'POST', mode: 'no-cors'}}),
]).then(found => {{ document.getElementById('said').textContent = 'asked: ' + found.join(', '); }});
</script>"""


@pytest.fixture
def server(tmp_path):
    studies = save_balls(tmp_path, 1)
    bundle = write_nano_bundle(tmp_path / "bundles", system="aisam")
    with serving(tmp_path, studies, [bundle], "--allow-origin", "http://localhost:1") as server:
        yield server


def shown(server):
    """What a browser shows of a page of another server that asks this one."""

    class Foreign(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.format(server=server.url).encode())

        def log_message(self, *_):
            pass

    foreign = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    threading.Thread(target=foreign.serve_forever, daemon=True).start()
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    try:
        address = f"http://127.0.0.1:{foreign.server_address[1]}/"
        done = subprocess.run([*command, address], capture_output=True, text=True, check=True)
    finally:
        foreign.shutdown()
    return done.stdout


def test_a_browser_on_a_foreign_page_gets_and_deletes_nothing(server):
    assert "asked: refused, refused, " in shown(server)
    assert (server.studies / "p0.nii.gz").is_file()
    assert requests.get(server.url + "/datastore/", timeout=60).json()["total"] == 1
