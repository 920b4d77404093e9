"""AM-SAM's Table 4 and its baselines on a few labelled images: every row, shot and draw, resumable.

    AMSAM_DATA=DIR python scripts/benchmarks/few_shot.py --dataset isic --shots 4 8 16 --draws 3 --out runs/isic

A row is a bundle's own training with the overrides of rows/few_shot.yaml. Each run is one JSON file in --out/runs; what
is there is not run again. Rows beyond the paper's table and its
baselines run where --rows names them. Dice is that of the images that no draw touches, at native size (strict) and on
a 64 x 64 grid (for parity with BLO-SAM's code). Writes table.md, results.json and, with --curves and --alphas,
convergence.png (AM-SAM, Fig. 5) and alpha.png (Fig. 6), both measured on images that neither train nor test.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.transforms import Compose
from rich.progress import track
from row_table import UNCACHED, Row, read_table

from amsam_monai.bundles.run import bundle_workflow, run_training
from amsam_monai.data.datasets import LoadCased, image_folder_datalist, isic_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.sections import sections as cut
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.evaluation.curves import draw_curves, epochs_to
from amsam_monai.evaluation.scoring.sample_dice import dice_of_samples
from amsam_monai.networks.prompts.boxes import box_iou, class_boxes
from amsam_monai.segment.autocast import PRECISIONS
from amsam_monai.segment.flips import FLIPS
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import ToThreeChannelsd

TABLE = read_table("few_shot")
ROWS: dict[str, Row] = TABLE["rows"]
CURVES = ("AM-SAM", "BLO-SAM")
OURS = ("AM-SAM", "AM-SAM, encoder trained")
Boxes = dict[str, torch.Tensor] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--dataset", required=True, choices=list(TABLE["datasets"]))
    parser.add_argument("--shots", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rows", nargs="+", default=TABLE["usual"], choices=list(ROWS), metavar="ROW")
    parser.add_argument("--curves", action="store_true", help="Dice after each epoch, 8 shots, first draw")
    parser.add_argument("--alphas", type=float, nargs="*", default=[], help="also sweep alpha, 8 shots, first draw")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--flips", nargs="*", default=[], choices=list(FLIPS), help="also score over mirror images")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="of the training")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    for shots in arguments.shots:
        for draw in range(arguments.draws):
            for row in arguments.rows:
                bench.run(row, shots, draw)
    if arguments.curves:
        for row in CURVES:
            bench.run(row, 8, 0, watch=True)
    for alpha in arguments.alphas:
        bench.run("AM-SAM", 8, 0, alpha=alpha, watch=True)
    bench.summarise()


class Bench:
    """The data of one set, and its runs."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.dataset, self.out = arguments, arguments.dataset, arguments.out
        root = Path(arguments.data or os.environ["AMSAM_DATA"]) / self.dataset
        listed = isic_datalist(root) if self.dataset == "isic" else image_folder_datalist(root, preset=self.dataset)
        self.datalist = listed
        self.load = Compose([LoadCased(), Intensityd(mode="bit_depth"), ToThreeChannelsd()])
        self.test: list[dict] = []
        self.found: dict[tuple[Any, ...], tuple[Boxes, dict[str, float]]] = {}
        self.set = TABLE["datasets"][self.dataset]

    def run(self, name: str, shots: int, draw: int, alpha: float = 0.7, *, watch: bool = False) -> None:
        """One run, unless its file is there; with `watch`, Dice of other images after each epoch."""
        kind = f"_alpha{alpha}" if alpha != 0.7 else "_curve" if watch else ""
        path = self.out / "runs" / f"{name.replace(' ', '_').replace(',', '')}_{shots}_{draw}{kind}.json"
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        begun, row = time.perf_counter(), ROWS[name]
        parts = cut(self.datalist, shots=shots, draw=draw, listed=self.dataset, validation=0)
        self.test = self.test or [self.load(case) for case in track(parts["test"], "test images")]
        others = self.others(parts, 12) if watch else []
        overrides = self.overrides(row, shots, draw, alpha)
        curve: list[tuple[int, float]] = []
        result, seconds = {}, 0.0
        with tempfile.TemporaryDirectory(prefix="amsam-bench-") as folder:
            given: dict[str, Any] = {"configs": ("train", *row.configs), "root": folder, "overrides": overrides}
            given["datalist"] = {**parts, "val": [], "test": []}
            if row.trains:
                watcher = Follower(self, row, others, curve, shots, draw)
                trained = run_training(self.set["bundle"], **given, handlers=[watcher] if watch else [])
                network, seconds = trained.network, trained.seconds
            else:
                with bundle_workflow(self.set["bundle"], **given) as workflow:
                    network = workflow.parser.get_parsed_content("network")
        scored = others if watch else self.test
        cache = embedding_cache(network) if row.cached else None
        boxes, found = self.boxes(network, scored, shots, draw)
        native, coarse = dice_of_samples(network, scored, cache, boxes=boxes)
        if self.arguments.flips:
            flipped, _ = dice_of_samples(network, scored, cache, boxes=boxes, flips=self.arguments.flips)
            result["dice_mirrored"] = float(np.nanmean(flipped))
        result |= {
            "row": name,
            "shots": shots,
            "draw": draw,
            "alpha": alpha,
            "watched": watch,
            "dice": float(np.nanmean(native)),
            "dice_64": float(np.nanmean(coarse)),
            "per_image": {s["case_id"]: float(d) for s, d in zip(scored, native, strict=True)},
            "train": [str(case["case_id"]) for case in parts["train"]],
            "seconds": seconds,
            "all_seconds": time.perf_counter() - begun,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "settings": {id_: value for id_, value in overrides.items() if not id_.endswith("path")},
            "curve": curve,
            **found,
        }
        with whole_file(path) as part:
            part.write_text(json.dumps(result, indent=1), encoding="utf-8")
        print(f"{name:28} {shots:2} shots draw {draw}{kind}: Dice {result['dice']:.4f} ({seconds:.0f} s)", flush=True)

    def overrides(self, row: Row, shots: int, draw: int, alpha: float) -> dict[str, Any]:
        """What the run changes of the bundle's training."""
        chosen = self.arguments
        run = {
            "shots": shots,
            "seed": draw,
            "max_epochs": chosen.epochs,
            "precision": chosen.precision,
            "settings#sam#image_size": chosen.image_size,
            "settings#arguments#alpha": alpha,
            "detector#path": str((self.out / "detectors" / f"{shots}_{draw}.pth").resolve()),  # one for all rows
            **self.set["set"],
        }
        return {**(UNCACHED if not row.cached else {}), **row.overrides(run)}

    def others(self, sections: dict[str, list[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
        """Images that neither train nor test."""
        taken = {case["case_id"] for name in ("train", "test") for case in sections[name]}
        return [self.load(case) for case in self.datalist if case["case_id"] not in taken][:count]

    def boxes(self, network: Any, samples: list[dict], shots: int, draw: int) -> tuple[Boxes, dict[str, float]]:
        """The boxes of the network's detector, asked once for all rows that share it, and how good they are."""
        detector = getattr(network, "detector", None)
        if detector is None:
            return None, {}
        key = (shots, draw, detector.confidence, len(samples))
        if key not in self.found:
            boxes = {s["case_id"]: detector(s["image"][None].as_tensor())[0][0].cpu() for s in samples}
            true = [class_boxes(s["label"][None], 1)[0] for s in samples]
            pairs = zip(samples, true, strict=True)
            overlap = torch.stack([box_iou(boxes[s["case_id"]], box)[0] for s, box in pairs]).nan_to_num()  # no box
            quality = {"box_iou": float(overlap.mean()), "box_recall": float((overlap >= 0.5).float().mean())}
            self.found[key] = boxes, quality
        return self.found[key]

    def summarise(self) -> None:
        """Tables and pictures of all runs in the folder."""
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((self.out / "runs").glob("*.json"))]
        lines = [
            "| row | shots | Dice | mirrored | Dice on 64 x 64 | box IoU | box recall | seconds | peak GB | draws |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        scored = [run for run in runs if not run["watched"]]
        for row in ROWS:
            for shots in sorted({run["shots"] for run in runs}):
                group = [run for run in scored if (run["row"], run["shots"]) == (row, shots)]
                if group:
                    lines.append(_line(row, shots, group))
        hours = sum(run.get("all_seconds", run["seconds"]) for run in runs) / 3600
        spent = f"{len(runs)} runs, {hours:.2f} hours from loading to scoring."
        text = "\n".join([*lines, "", *_paired(scored), "", spent]) + "\n"
        (self.out / "table.md").write_text(text, encoding="utf-8")
        (self.out / "results.json").write_text(json.dumps(runs, indent=1), encoding="utf-8")
        print(text)
        curves = {run["row"]: run["curve"] for run in runs if run["curve"] and run["alpha"] == 0.7}
        if curves:
            draw_curves(curves, self.out / "convergence.png", x="epoch", title=f"{self.dataset}, 8 shots")
            print({name: f"95% of the last Dice at epoch {epochs_to(0.95, curve)}" for name, curve in curves.items()})
        sweep = sorted((run["alpha"], run["dice"]) for run in runs if run["row"] == "AM-SAM" and run["watched"])
        if len(sweep) > 1:
            draw_curves({"AM-SAM": sweep}, self.out / "alpha.png", x="alpha", title=f"{self.dataset}, 8 shots")


class Follower:
    """Notes the mean Dice of samples after each epoch."""

    def __init__(self, bench: Bench, row: Row, samples: list[dict], curve: list, shots: int, draw: int) -> None:
        self.bench, self.row, self.samples, self.curve, self.run = bench, row, samples, curve, (shots, draw)

    def __call__(self, engine: Engine) -> None:
        network = engine.network
        cache = embedding_cache(network) if self.row.cached else None
        boxes, _ = self.bench.boxes(network, self.samples, *self.run)
        dice, _ = dice_of_samples(network, self.samples, cache, boxes=boxes)
        self.curve.append((engine.state.epoch, float(np.nanmean(dice))))


def _paired(runs: list[dict]) -> list[str]:
    """AM-SAM minus each BLO-SAM on the same images, draw by draw."""
    lines = []
    for shots in sorted({run["shots"] for run in runs}):
        dice = {(run["row"], run["draw"]): 100 * run["dice"] for run in runs if run["shots"] == shots}
        for ours, rival in product(OURS, (row for row in ROWS if row.startswith("BLO-SAM"))):
            draws = sorted(draw for row, draw in dice if row == ours and (rival, draw) in dice)
            gaps = [dice[ours, draw] - dice[rival, draw] for draw in draws]
            if gaps:
                shown = ", ".join(f"{gap:+.1f}" for gap in gaps)
                lines.append(f"{ours} minus {rival}, {shots} shots: {np.mean(gaps):+.1f} ({shown})")
    return lines


def _line(row: str, shots: int, group: list[dict]) -> str:
    def cell(key: str) -> str:
        values = [100 * run[key] for run in group if key in run]
        return f"{np.mean(values):.1f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.1f}" if values else ""

    seconds, peak = (np.median([run[key] for run in group]) for key in ("seconds", "peak_gb"))
    cells = [
        row,
        shots,
        *map(cell, ("dice", "dice_mirrored", "dice_64", "box_iou", "box_recall")),
        f"{seconds:.0f}",
        f"{peak:.1f}",
    ]
    return "| " + " | ".join(str(value) for value in [*cells, len(group)]) + " |"


if __name__ == "__main__":
    main()
