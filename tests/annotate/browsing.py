"""`amsam annotate` as a process and a browser on its page, for tests."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.label_app.boxes import save_rectangles, write_cells_bundle

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
]


@contextlib.contextmanager
def annotating(root, bundle, *options):
    """The address of a page on root/cases that saves into root/out; its log is root/log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "amsam_monai", "annotate", str(root / "cases"), "--bundle", str(bundle)]
    command += ["--out", str(root / "out"), "--port", str(port), *options]
    with open(root / "log", "w", encoding="utf-8") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_it_answers(process, url, root / "log")
            yield url
        finally:
            process.terminate()
            process.wait()


def wait_until_it_answers(process, url, log):
    while True:
        time.sleep(0.5)
        assert process.poll() is None, log.read_text(encoding="utf-8")[-3000:]
        try:
            urllib.request.urlopen(url, timeout=60)
            return
        except (urllib.error.URLError, TimeoutError):
            continue


@contextlib.contextmanager
def browsing(url):
    """The page in chromium; `asked` lists what it loaded."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1320, "height": 980})
        page.set_default_timeout(600_000)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(url)
        yield page
        browser.close()


@contextlib.contextmanager
def annotating_rectangles(root):
    """The address of a page on the picture of two rectangles."""
    (root / "cases").mkdir()
    save_rectangles(root / "cases" / "two.png")
    with annotating(root, write_cells_bundle(root / "bundles")) as url:
        yield url


def on_picture(page, pixel):
    """Where the middle of a pixel of the 64 x 64 picture is on the screen."""
    frame = page.locator("#main-view img").bounding_box()
    return [frame["x"] + frame["width"] * (pixel[0] + 0.5) / 64, frame["y"] + frame["height"] * (pixel[1] + 0.5) / 64]


def wait_for_status(page, text):
    page.locator("#status", has_text=text).wait_for()


def choose(page, field, option):
    page.click(f"{field} input")
    page.get_by_role("option", name=option, exact=True).click()
