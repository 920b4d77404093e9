"""Adapt MobileSAM to a few labelled images and segment the rest: what `make demo` runs.

Trains, infers and evaluates bundles/isic_amsam_segmentation by its own configs, on dermoscopy phantoms or on a folder
of the ISIC layout, and scores the untrained SAM beside it. Nothing outside --out is written but the caches of weights
and embeddings.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from amsam_monai.bundles.run import bundle_workflow, run_training

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "isic_amsam_segmentation"
CASES, SHOTS = 32, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of all results")
    parser.add_argument("--data", type=Path, help="images/ and labels/ in the ISIC layout; default: phantoms")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    data = arguments.data.resolve() if arguments.data else make_phantoms(out / "phantoms")
    amsam("weights", "fetch", "mobile_sam", "yolo26n")
    root = out / "isic_amsam_segmentation"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(BUNDLE, root, ignore=shutil.ignore_patterns("model.pt", "detector.pth", "eval"))
    (root / "models").mkdir(exist_ok=True)
    common = {"dataset_dir": str(data), "shots": SHOTS, "pool": SHOTS, "val": 0, "listed": None}
    if not arguments.data:  # phantoms must not help to find phantoms, and eight of them teach their edges well enough
        common |= {"detector_start": "yolo26n", "detector_steps": 150, "phantoms": 0, "mixed_phantoms": 0}
        common |= {"box_iou": 0.85, "settings#detector#snap_to_dark_object": False}
        common |= {"settings#arguments#dark_object_weight": 0.0}
    rule("Train on 8 images")
    run_training(root, overrides={**common, "max_epochs": arguments.epochs})
    rule("Segment all images")
    places = {"dataset_dir": str(data / "images"), "output_dir": str(out / "predictions")}
    run(root, ["inference"], {"settings": {"slices": {"flips": []}}, **places})
    rule("Score the images not trained on")
    still = {"settings#slices#flips": []}  # images as they are: mirror images are four times the work
    run(root, ["train", "evaluate"], {**common, **still, "output_dir": str(out / "adapted")})
    rule("Score the untrained SAM on the same images")
    plain = {"settings#detector": None, "settings#arguments#calibration": "none"}
    plain |= {"settings#arguments#dark_object_weight": 0.0, "validate#handlers#0#_disabled_": True}
    run(root, ["train", "evaluate"], {**common, **still, **plain, "output_dir": str(out / "untrained")})
    report(out)


def make_phantoms(folder: Path) -> Path:
    if not folder.is_dir():
        amsam("demo-data", "isic", str(folder), "--cases", str(CASES))
    return folder


def amsam(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "amsam_monai", *arguments], check=True)


def rule(title: str) -> None:
    Console().rule(title)


def run(root: Path, configs: list[str], overrides: dict[str, object]) -> None:
    """Run configs of the bundle that do not train."""
    with bundle_workflow(root, configs=configs, overrides=overrides) as workflow:
        workflow.run()
        workflow.finalize()


def mean_dice(folder: Path) -> tuple[float, int]:
    summary = json.loads((folder / "scores" / "summary.json").read_text(encoding="utf-8"))
    dice = summary["classes"]["lesion"]["dice"]
    return dice["mean"], dice["n"]


def report(out: Path) -> None:
    adapted, count = mean_dice(out / "adapted")
    untrained, _ = mean_dice(out / "untrained")
    table = Table(title=f"Dice on {count} held-out images (strict, native size)")
    table.add_column("network")
    table.add_column("mean Dice", justify="right")
    table.add_row("SAM, untrained, no prompt", f"{untrained:.2f}")
    table.add_row(f"AM-SAM, {SHOTS} labelled images", f"{adapted:.2f}")
    Console().print(table)
    for folder in ("adapted", "untrained"):
        print(f"overlays ({folder}): {out / folder / 'scores' / 'overlays'}")
    print(f"report: {out / 'adapted' / 'scores' / 'report.html'}")
    print(f"label pictures: {out / 'predictions'}")
    print(f"demo: mean Dice {adapted:.2f} on {count} held-out images (untrained SAM {untrained:.2f})")


if __name__ == "__main__":
    main()
