"""A recording of the web page for the docs: a phantom, a real adapter, a real browser (Playwright, Debian's chromium).

python scripts/record_page.py --bundle acdc_aisam_segmentation --out docs/images/annotate.gif

Each picture is taken once the page has answered, and is shown for as long as it takes to read. So the recording is the
same on a slow machine as on a fast one, and does not tell how fast the page is.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from annotate_pictures import page_of, phantoms
from PIL import Image
from playwright.sync_api import sync_playwright

from amsam_monai.data.files.atomic import whole_file

CASE, SHAPE = "patient019_frame01.nii.gz", (160, 192)  # the network alone misses the right ventricle in slice 2
SIZE = {"width": 1280, "height": 760}
MOST = 2_000_000  # bytes
MOVE, LOOK, READ = 70, 900, 1700  # milliseconds: a step of the pointer, an answer, a caption
Voxel = tuple[float, float]

STYLE = """
#pointer {position: fixed; left: 640px; top: 700px; width: 18px; height: 18px; border: 2px solid #fff;
  outline: 2px solid #000; border-radius: 50%; transform: translate(-50%, -50%); pointer-events: none; z-index: 99;}
#caption {position: fixed; left: 0; right: 0; bottom: 0; height: 40px; padding-left: 20px; background: #14213d;
  color: #fff; font: 600 20px/40px sans-serif; z-index: 98;}"""
FOLLOW = """() => {
  for (const id of ['pointer', 'caption']) document.body.append(Object.assign(document.createElement('div'), {id}));
  document.addEventListener('pointermove', (event) => Object.assign(
    document.querySelector('#pointer').style, {left: event.clientX + 'px', top: event.clientY + 'px'}));
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="acdc_aisam_segmentation", help="one that segments RV, Myo and LV")
    parser.add_argument("--out", type=Path, required=True, help="a GIF")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        case = phantoms(Path(folder), "acdc", 5) / CASE
        with page_of(case, args.bundle, Path(folder) / "out") as url, opened(url) as page:
            film = Film(page)
            work(film)
    film.save(args.out)
    size = args.out.stat().st_size
    print(f"{args.out}: {film.seconds:.1f} s, {len(film.pictures)} pictures, {size / 1e6:.2f} MB")
    if size > MOST:
        raise SystemExit(f"the recording must have at most {MOST} bytes, got {size}: take fewer pictures.")


@contextlib.contextmanager
def opened(url: str) -> Iterator[Any]:
    """The page in a browser, with a pointer and a line of text that pictures show."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(120_000)
        page.goto(url)
        page.locator("#status", has_text="the network's own").wait_for()
        page.add_style_tag(content=STYLE)
        page.evaluate(FOLLOW)
        yield page
        browser.close()


class Film:
    """Pictures of a page, and how long each is shown.

    Args:
        page: of Playwright.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.pictures: list[Image.Image] = []
        self.times: list[int] = []

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return sum(self.times) / 1000

    def show(self, milliseconds: int) -> None:
        """Take a picture."""
        self.pictures.append(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))
        self.times.append(milliseconds)

    def say(self, caption: str) -> None:
        """Write a line below the page."""
        self.page.evaluate("text => { document.querySelector('#caption').textContent = text; }", caption)
        self.show(READ)

    def press(self, key: str, answer: str) -> None:
        """Press a key, and wait until the page says what it does (a regular expression)."""
        self.page.keyboard.press(key)
        self.wait_for(answer)

    def draw(self, places: list[Voxel], answer: str) -> None:
        """Draw through voxels (i, j) of the slice; one alone is a click."""
        mouse = self.page.mouse
        first, *others = [self.on_screen(place) for place in places]
        mouse.move(*first)
        self.show(400)
        mouse.down()
        for place in others:
            mouse.move(*place, steps=3)
            self.show(MOVE)
        mouse.up()
        self.wait_for(answer)

    def wait_for(self, answer: str) -> None:
        """Show the page once it says so."""
        self.page.locator("#status", has_text=re.compile(answer)).wait_for()
        self.page.wait_for_timeout(600)  # until the views are there too
        self.show(LOOK)

    def on_screen(self, voxel: Voxel) -> tuple[float, float]:
        """Where the middle of a voxel of an upright slice is: it is centred in a square."""
        frame, side = self.page.locator("#main-view img").bounding_box(), max(SHAPE)
        x, y = ((at + 0.5 + (side - count) / 2) / side for at, count in zip(voxel, SHAPE, strict=True))
        return frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]

    def save(self, path: Path) -> None:
        """Write a GIF with one palette for all pictures, which repeats."""
        palette = palette_of(self.pictures[:: max(1, len(self.pictures) // 8)])
        first, *others = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in self.pictures]
        with whole_file(path) as partial:
            first.save(partial, save_all=True, append_images=others, duration=self.times, loop=0)


def palette_of(pictures: list[Image.Image], colours: int = 96) -> Image.Image:
    """A palette of 256 for pictures, in which greys leave room for the colours of classes and marks."""
    pixels = np.concatenate([np.asarray(picture).reshape(-1, 3) for picture in pictures])
    coloured = np.ptp(pixels.astype(np.int16), axis=1) > 24
    entries: list[int] = []
    for some, count in ((pixels[coloured], colours), (pixels[~coloured], 256 - colours)):
        entries += Image.fromarray(some[None]).quantize(count).getpalette()[: 3 * count]
    palette = Image.new("P", (1, 1))
    palette.putpalette(entries)
    return palette


def work(film: Film) -> None:
    """Find a missing class, correct it in one slice, and carry it to the others."""
    film.say("The network alone. Arrow down: the slices below.")
    film.press("ArrowDown", "Slice 3")
    film.press("ArrowDown", "Slice 2")
    film.say("The right ventricle (RV) is missing here. F: a scribble inside it.")
    film.press("f", "Tool: Scribble")
    film.draw([(62, 75), (56, 82), (54, 90), (55, 98), (61, 106)], "added to")
    film.say("W: the brush, for the last voxels.")
    film.press("w", "Tool: Brush")
    film.press("[", "Brush of 7")
    film.press("[", "Brush of 5")
    film.draw([(66, 72), (69, 73), (71, 75)], "Painted")
    film.say("P, propagate: what would the other slices get?")
    film.press("p", "would go on")
    film.press("ArrowUp", "Slice")
    film.say("Enter keeps it. Esc would drop it.")
    film.press("Enter", "Carried")
    film.say("S: saved, in the geometry of the image.")
    film.press("s", "Saved")


if __name__ == "__main__":
    main()
