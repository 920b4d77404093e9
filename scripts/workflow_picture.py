"""README's picture: a few labelled cases, the plan and report of `amsam train`, and a case corrected on the page.

python scripts/workflow_picture.py --out docs/images/workflow.png                   # trains first, some minutes
python scripts/workflow_picture.py --cases DIR --trained BUNDLE --out docs/images/workflow.png    # with what is there

Run it where the page is installed (`make .venv/.installed-dev`), with Debian's chromium.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from annotate_pictures import page_of, take
from playwright.sync_api import sync_playwright

from amsam_monai.auto.plan import Plan, said
from amsam_monai.data.datasets import LoadCased, isic_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.handlers import draw_overlay
from amsam_monai.phantoms.sets import write_phantoms

AMSAM = [sys.executable, "-m", "amsam_monai"]
CLICKS = [("r", (0.2, 0.25)), ("a", (0.5, 0.5))]
SHOWN = ("modality", "intensity", "side", "mirrors", "objects")  # choices of the plan, to keep the picture short
PAGE = """<meta charset="utf-8"><style>
body {{ margin: 0; padding: 20px; width: 1560px; background: white; font: 15px/1.35 sans-serif; color: #222 }}
main {{ display: grid; grid-template-columns: 300px 520px 1fr; gap: 24px }}
h2 {{ font-size: 19px; margin: 0 0 10px }} code {{ background: #eee; padding: 1px 4px }}
img {{ width: 100%; border: 1px solid #ccc; display: block; margin-bottom: 8px }}
.cases {{ display: grid; grid-template-columns: 1fr 1fr; gap: 8px }} .cases img {{ margin: 0 }}
td {{ vertical-align: top; padding: 2px 8px 2px 0 }} td:first-child {{ font-weight: bold }}
</style><main>
<section><h2>1. A few labelled cases</h2><p><code>cases/images, cases/labels</code></p>
<div class="cases">{cases}</div></section>
<section><h2>2. A plan, a model, a report</h2><p><code>amsam train cases --out lesion</code></p>
<table>{plan}</table>{report}</section>
<section><h2>3. A new case, corrected by clicks</h2><p><code>amsam annotate new --bundle lesion</code></p>
{page}</section>
</main>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, help="labelled cases in ISIC's layout, by default phantoms")
    parser.add_argument("--trained", type=Path, help="bundle that was trained on them, by default trained now")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cases = options.cases or folder / "cases"
        if options.cases is None:
            list(write_phantoms("isic", cases, cases=8, seed=5))
        bundle = options.trained or folder / "lesion"
        if options.trained is None:
            asked = ["--labels", "255=lesion", "--method", "plain", "--folds", "2", "--steps", "90", "--side", "224"]
            subprocess.run([*AMSAM, "train", str(cases), "--out", str(bundle), *asked], check=True)
        page = annotated(folder, bundle)
        report = screenshot((bundle / "report" / "report.html").resolve().as_uri(), (980, 640))
        plan = Plan.read(bundle / "plan.json")
        rows = [
            f"<tr><td>{name}<td>{html.escape(said(plan[name]))}<td>{html.escape(plan.choices[name].reason)}"
            for name in SHOWN
        ]
        text = PAGE.format(cases=labelled(cases), plan="".join(rows), report=shown(report), page=shown(page))
        (folder / "all.html").write_text(text, encoding="utf-8")
        picture = screenshot((folder / "all.html").as_uri(), (1600, 300), whole=True)
    with whole_file(options.out) as part:
        Path(part).write_bytes(picture)


def labelled(cases: Path) -> str:
    """Overlays of the labelled cases."""
    tiles = []
    for case in isic_datalist(cases)[:8]:
        sample = LoadCased()(case)
        image = torch.as_tensor(sample["image"]).float()
        overlay = draw_overlay(image / max(1.0, float(image.max())), label=torch.as_tensor(sample["label"]), side=280)
        buffer = io.BytesIO()
        overlay.save(buffer, format="PNG")
        tiles.append(shown(buffer.getvalue()))
    return "".join(tiles)


def annotated(folder: Path, bundle: Path) -> bytes:
    """The page with a phantom of another seed, after some clicks."""
    list(write_phantoms("isic", folder / "new", cases=1, seed=11))
    with page_of(folder / "new" / "images", str(bundle), folder / "out") as url:
        take(url, CLICKS, folder / "page.png")
    return (folder / "page.png").read_bytes()


def screenshot(address: str, size: tuple[int, int], whole: bool = False) -> bytes:
    """What chromium shows of an address."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.set_default_timeout(300_000)
        page.goto(address)
        picture = page.screenshot(full_page=whole)
        browser.close()
    return picture


def shown(picture: bytes) -> str:
    """A picture within the page."""
    return f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


if __name__ == "__main__":
    main()
