"""`amsam label start` as a process without network, for tests."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

requests = pytest.importorskip("requests", reason="needs MONAI Label")

ROOT = Path(__file__).parents[2]


class Server:
    """A server process, its address, and the folder of temporary files that it is told."""

    def __init__(self, process, url, studies, root):
        self.process, self.url, self.studies, self.root = process, url, studies, root
        self.temporary = root / "tmp"

    def post(self, path, **options):
        return requests.post(self.url + path, timeout=600, **options)

    def infer(self, model, image, output="json", **params):
        answer = self.post(
            f"/infer/{model}?image={image}&output={output}",
            data={"params": json.dumps({"client_id": "slicer", **params})},
        )
        return answer

    def alive(self):
        return self.process.poll() is None and requests.get(self.url + "/info/", timeout=600).status_code == 200

    def left(self):
        """All that lies among its temporary files."""
        return set(self.temporary.rglob("*"))

    def log(self):
        return (self.root / "server.log").read_text(encoding="utf-8")


@contextlib.contextmanager
def serving(root, studies, bundles, *options):
    """A running server; its log is root/server.log."""
    port = free_port()
    (root / "tmp").mkdir(exist_ok=True)
    blocked = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {
        **os.environ,
        **blocked,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "label_app" / "site")]),
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(root / "tmp"),
    }
    command = [sys.executable, "-m", "amsam_monai", "label", "start", str(studies), "--port", str(port), *options]
    command += [part for one in bundles for part in ("--bundle", str(one))]
    with open(root / "server.log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        server = Server(process, f"http://127.0.0.1:{port}", studies, root)
        try:
            wait_until_it_answers(server)
            yield server
        finally:
            process.terminate()
            process.wait()
    with pytest.raises(requests.ConnectionError):  # nothing is left that serves
        requests.get(server.url + "/info/", timeout=600)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_it_answers(server):
    """Wait as long as the process lives."""
    while True:
        time.sleep(0.5)
        assert server.process.poll() is None, server.log()[-3000:]
        try:
            if server.alive():
                return
        except requests.ConnectionError:
            continue
