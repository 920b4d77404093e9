"""Image encoders of this package beside those of its peers: seconds an image, and memory.

    python scripts/benchmarks/encoder.py [--rows vit_b vit_t] [--rounds 3] [--threads 1] [--out encoder.json]
    python scripts/benchmarks/encoder.py --python transformers=OTHER/bin/python

Random weights, one image, float32. Each run is a process of its own, ours and the peers' in turn; the ratio is that of
the medians. Memory is the peak of resident memory, less what was there before the first image. A peer that is not
installed is left out; --python names the Python of an environment that has it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROWS = {"vit_b": ("segment_anything", "transformers", "ultralytics"), "vit_t": ("ultralytics",)}
SIDES = {"vit_b": 1024, "vit_t": 512}
OURS = "amsam_monai"


def build(row: str, side: int, who: str):
    """An encoder: images (1, 3, side, side) in, embedding out."""
    if who == OURS:
        from amsam_monai.networks.sam import build_sam

        return build_sam(row, image_size=side).image_encoder
    if who == "segment_anything":
        from segment_anything import sam_model_registry

        return sam_model_registry["vit_b"]().image_encoder
    if who == "transformers":
        from transformers import SamVisionConfig, SamVisionModel

        return SamVisionModel(SamVisionConfig(image_size=side))
    if row == "vit_b":
        from ultralytics.models.sam.build import build_sam_vit_b

        return build_sam_vit_b().image_encoder
    from ultralytics.models.sam.build import build_mobile_sam

    encoder = build_mobile_sam().image_encoder
    encoder.set_imgsz([side, side])
    return encoder


def measure(row: str, side: int, who: str, images: int, threads: int) -> dict[str, float]:
    """Seconds an image and mebibytes above the network's own, in this process."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    encoder = build(row, side, who).eval()
    image = torch.rand(1, 3, side, side)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + images):
            begun = time.perf_counter()
            encoder(image)
            seconds.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - pages * resource.getpagesize() / 2**20
    return {"seconds": statistics.median(seconds[1:]), "mebibytes": peak}


def there(who: str, python: str | None) -> bool:
    """Whether an environment has a package."""
    if python is None:
        return importlib.util.find_spec(who) is not None
    return subprocess.run([python, "-c", f"import {who}"], capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2, help="timed in each run, after one that is not")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--python", nargs="+", default=[], metavar="PEER=PYTHON")
    parser.add_argument("--out", type=Path, help="JSON of all runs")
    parser.add_argument("--one", nargs=2, metavar=("ROW", "WHO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        row, who = options.one
        print(json.dumps(measure(row, SIDES[row], who, options.images, options.threads)))
        return
    pythons = dict(pair.split("=", 1) for pair in options.python)
    runs: dict[str, dict[str, list[dict[str, float]]]] = {}
    for row in options.rows:
        sides = [OURS, *(peer for peer in ROWS[row] if there(peer, pythons.get(peer)))]
        runs[row] = {who: [] for who in sides}
        for _ in range(options.rounds):
            for who in sides:
                command = [pythons.get(who, sys.executable), __file__, "--one", row, who]
                command += ["--images", str(options.images), "--threads", str(options.threads)]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                runs[row][who].append(json.loads(told.splitlines()[-1]))
    print("| encoder | who | seconds an image | ratio | MiB | ratio |\n|---|---|--:|--:|--:|--:|")
    for row, found in runs.items():
        ours = [statistics.median(run[key] for run in found[OURS]) for key in ("seconds", "mebibytes")]
        for who, each in found.items():
            seconds, memory = (statistics.median(run[key] for run in each) for key in ("seconds", "mebibytes"))
            ratios = f"{seconds / ours[0]:.2f}", f"{memory / ours[1]:.2f}"
            print(f"| {row} at {SIDES[row]} | {who} | {seconds:.2f} | {ratios[0]} | {memory:.0f} | {ratios[1]} |")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(runs, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
