"""Pictures of the web page for the docs: phantoms, real adapters, a real browser (Playwright, Debian's chromium).

python scripts/annotate_pictures.py --bundle acdc_aisam_segmentation --kind acdc --out docs/images
python scripts/annotate_pictures.py --bundle isic_amsam_segmentation --kind isic --out docs/images
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

# keys, each with the place that is clicked then on the large view, in fractions of its sides
STEPS: dict[str, list[tuple[str, tuple[float, float] | None]]] = {
    "acdc": [("1", None), ("r", (0.55, 0.3)), ("a", (0.41, 0.51))],
    "isic": [("r", (0.2, 0.25)), ("a", (0.5, 0.5))],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--kind", required=True, choices=sorted(STEPS), help="phantoms")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = phantoms(Path(folder), args.kind, args.seed)
        with page_of(cases, args.bundle, Path(folder) / "out") as url:
            take(url, STEPS[args.kind], args.out / f"annotate_{args.kind}.png")


@contextlib.contextmanager
def page_of(cases: Path, bundle: str, out: Path) -> Iterator[str]:
    """The address of a page on cases."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "amsam_monai", "annotate", str(cases), "--bundle", bundle]
    server = subprocess.Popen([*command, "--out", str(out), "--port", str(port)])
    try:
        wait_for(server, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(120)


def phantoms(folder: Path, kind: str, seed: int) -> Path:
    """A flat folder of phantom images without their labels."""
    command = [sys.executable, "-m", "amsam_monai", "demo-data", kind, str(folder / "made")]
    subprocess.run([*command, "--cases", "3", "--seed", str(seed)], check=True)
    (cases := folder / "cases").mkdir()
    for path in sorted((folder / "made").rglob("*")):
        if path.name.endswith(("jpg", "nii.gz")) and "_gt" not in path.name:
            shutil.copy(path, cases / path.name)
    return cases


def wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the page answers."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    raise RuntimeError(f"the page ended with {server.returncode}.")


def take(url: str, steps: list[tuple[str, tuple[float, float] | None]], path: Path) -> None:
    """Do the steps on the page, and keep a picture of it."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1320, "height": 860})
        page.set_default_timeout(300_000)
        page.goto(url)
        page.locator("#status", has_text="the network's own").wait_for()
        for key, start in steps:
            page.keyboard.press(key)
            page.wait_for_timeout(1500)
            if start is not None:
                frame = page.locator("#main-view img").bounding_box()
                assert frame is not None
                page.mouse.click(frame["x"] + start[0] * frame["width"], frame["y"] + start[1] * frame["height"])
                page.locator("#status", has_text=re.compile("at (voxel|pixel)")).wait_for()
                page.wait_for_timeout(1500)
        page.mouse.move(5, 5)
        page.wait_for_timeout(500)
        page.screenshot(path=str(path))
        browser.close()


if __name__ == "__main__":
    main()
