"""AM-SAM's Table 4 and its baselines on a few labelled images: every row, shot and draw, resumable.

    AMSAM_DATA=DIR python scripts/bench_fewshot.py --dataset isic --shots 4 8 16 --draws 3 --out runs/isic

Each run is one JSON file in --out/runs; what is there is not run again. Rows beyond the paper's table and its
baselines run where --rows names them. Dice is that of the images that no draw touches, at native size (strict) and on
a 64 x 64 grid (for parity with BLO-SAM's code). Writes table.md, results.json and, with --curves and --alphas,
convergence.png (AM-SAM, Fig. 5) and alpha.png (Fig. 6), both measured on images that neither train nor test.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.transforms import Compose
from rich.progress import track

from amsam_monai.data.datasets import LoadCased, image_folder_datalist, isic_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.sections import sections as cut
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.epoch_bar import epoch_bar
from amsam_monai.engines.few_shot import FewShotSettings, dice_of_samples, few_shot_trainer
from amsam_monai.engines.few_shot_rows import ROWS, Row
from amsam_monai.engines.fit_detector import load_or_fit_detector
from amsam_monai.evaluation.curves import draw_curves, epochs_to
from amsam_monai.networks.prompts.boxes import box_iou, class_boxes
from amsam_monai.phantoms.sets import lesion_phantom_samples, lesion_phantoms
from amsam_monai.segment.autocast import PRECISIONS
from amsam_monai.segment.flips import FLIPS
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import ToThreeChannelsd

BOX_IOU = {"isic": 0.72, "human": 0.85, "tiktok": 0.85}
LESION_START = Path(__file__).parents[1] / "bundles" / "isic_amsam_segmentation" / "models" / "lesion_start.pth"
VIEWS = {"isic": 8, "kvasir": 8, "glas": 8, "human": 2, "tiktok": 2}
CURVES = ("AM-SAM", "BLO-SAM")
OURS = ("AM-SAM", "AM-SAM, encoder trained")
DARK_OBJECT_WEIGHT = {"isic": 0.5}  # share of the dark object in a box, see `AMSAM`
PHANTOMS = {"isic": 120}  # mixed into the training
ON_REQUEST = (
    "AM-SAM, without dark objects",
    "AM-SAM, without phantoms",
    "AM-SAM, encoder trained",
    "BLO-SAM, encoder trained",
    "AM-SAM, two levels",
    "BLO-SAM, two levels",
)
Boxes = dict[str, torch.Tensor] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--dataset", required=True, choices=list(VIEWS))
    parser.add_argument("--shots", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--draws", type=int, default=3)
    usual = [name for name in ROWS if name not in ON_REQUEST]
    parser.add_argument("--rows", nargs="+", default=usual, choices=list(ROWS), metavar="ROW")
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
        self.extra = lesion_phantom_samples(PHANTOMS.get(self.dataset, 0))

    def run(self, name: str, shots: int, draw: int, alpha: float = 0.7, *, watch: bool = False) -> None:
        """One run, unless its file is there; with `watch`, Dice of other images after each epoch."""
        kind = f"_alpha{alpha}" if alpha != 0.7 else "_curve" if watch else ""
        path = self.out / "runs" / f"{name.replace(' ', '_').replace(',', '')}_{shots}_{draw}{kind}.json"
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        gc.collect()  # a trainer and its handlers hold each other, and the samples of the last run
        begun = time.perf_counter()
        row = ROWS[name]
        sections = cut(self.datalist, shots=shots, draw=draw, listed=self.dataset)
        self.test = self.test or [self.load(case) for case in track(sections["test"], "test images")]
        samples = [self.load(case) for case in sections["train"]]
        torch.manual_seed(draw)
        weight = DARK_OBJECT_WEIGHT.get(self.dataset, 0.0)
        network = row.build(shots=shots, image_size=self.arguments.image_size, alpha=alpha, dark_object_weight=weight)
        cache = None if row.encoder_trains or row.from_scratch else embedding_cache(network)
        others = self.others(sections, 12) if watch else []
        boxes, found = self.boxes(samples, others, shots, draw, row.floor(shots)) if row.detector else (None, {})
        settings = self.settings(row, shots, draw)
        curve: list[tuple[int, float]] = []
        seconds = 0.0
        if row.trains:
            trainer = few_shot_trainer(network, samples, cache, settings, extra=self.extra)
            epoch_bar(trainer, f"{name}, {shots} images, draw {draw}")
            if watch:
                trainer.add_event_handler(Events.EPOCH_COMPLETED, follow, network, others, cache, boxes, curve)
            start = time.perf_counter()
            trainer.run()
            seconds = time.perf_counter() - start
        scored = others if watch else self.test
        native, coarse = dice_of_samples(network, scored, cache, boxes=boxes)
        mirrored = {}
        if self.arguments.flips:
            flipped, _ = dice_of_samples(network, scored, cache, boxes=boxes, flips=self.arguments.flips)
            mirrored = {"dice_mirrored": float(np.nanmean(flipped))}
        result = {
            "row": name,
            "shots": shots,
            "draw": draw,
            "alpha": alpha,
            "watched": watch,
            "dice": float(np.nanmean(native)),
            "dice_64": float(np.nanmean(coarse)),
            "per_image": {s["case_id"]: float(d) for s, d in zip(scored, native, strict=True)},
            "train": [str(s["case_id"]) for s in samples],
            "seconds": seconds,
            "all_seconds": time.perf_counter() - begun,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "settings": asdict(settings),
            "curve": curve,
            **mirrored,
            **found,
        }
        with whole_file(path) as part:
            part.write_text(json.dumps(result, indent=1))
        print(f"{name:28} {shots:2} shots draw {draw}{kind}: Dice {result['dice']:.4f} ({seconds:.0f} s)", flush=True)

    def settings(self, row: Row, shots: int, draw: int) -> FewShotSettings:
        """How the row trains."""
        box_iou = BOX_IOU.get(self.dataset, 0.8) if row.detector else None
        common = FewShotSettings(epochs=self.arguments.epochs, views=VIEWS[self.dataset], seed=draw, box_iou=box_iou)
        common = replace(common, precision=self.arguments.precision)
        settings = row.settings_for(common, shots)
        if settings.batch_size == 1:  # the paper's: 100 epochs, each image of D1 once
            settings = replace(settings, epochs=100, steps_per_epoch=max(1, shots // 2))
        return settings

    def others(self, sections: dict[str, list[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
        """Images that neither train nor test."""
        taken = {case["case_id"] for name in ("train", "test") for case in sections[name]}
        return [self.load(case) for case in self.datalist if case["case_id"] not in taken][:count]

    def boxes(
        self, samples: list[dict], others: list[dict], shots: int, draw: int, floor: float
    ) -> tuple[Boxes, dict[str, float]]:
        """The detector's boxes of the images that are scored, and how good they are on the test images."""
        key = (shots, draw, floor, len(others))
        if key in self.found:
            return self.found[key]
        start = time.perf_counter()
        known = {"known_classes": [0]} if self.dataset in ("human", "tiktok") else {"seed": draw}  # COCO knows persons
        if self.dataset == "isic":
            known |= {
                "start": LESION_START,
                "extra": lesion_phantoms(200),
                "steps": 60,
                "learning_rate": 5e-4,
                "snap_to_dark_object": True,
            }
        path = self.out / "detectors" / f"{shots}_{draw}.pth"
        detector = load_or_fit_detector(path, samples, class_names=["object"], **known)
        seconds = time.perf_counter() - start
        detector.confidence = max(detector.confidence, floor)
        boxes = {s["case_id"]: detector(s["image"][None].as_tensor())[0][0] for s in [*self.test, *others]}
        overlap = torch.stack([box_iou(boxes[s["case_id"]], class_boxes(s["label"][None], 1)[0])[0] for s in self.test])
        overlap = overlap.nan_to_num()  # no box
        quality = {"box_iou": float(overlap.mean()), "box_recall": float((overlap >= 0.5).float().mean())}
        self.found[key] = boxes, {**quality, "detector_seconds": seconds}
        return self.found[key]

    def summarise(self) -> None:
        """Tables and pictures of all runs in the folder."""
        runs = [json.loads(path.read_text()) for path in sorted((self.out / "runs").glob("*.json"))]
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
        (self.out / "table.md").write_text(text)
        (self.out / "results.json").write_text(json.dumps(runs, indent=1))
        print(text)
        curves = {run["row"]: run["curve"] for run in runs if run["curve"] and run["alpha"] == 0.7}
        if curves:
            draw_curves(curves, self.out / "convergence.png", x="epoch", title=f"{self.dataset}, 8 shots")
            print({name: f"95% of the last Dice at epoch {epochs_to(0.95, curve)}" for name, curve in curves.items()})
        sweep = sorted((run["alpha"], run["dice"]) for run in runs if run["row"] == "AM-SAM" and run["watched"])
        if len(sweep) > 1:
            draw_curves({"AM-SAM": sweep}, self.out / "alpha.png", x="alpha", title=f"{self.dataset}, 8 shots")


def follow(
    engine: Engine, network: Any, samples: list[dict], cache: Any, boxes: Boxes, curve: list[tuple[int, float]]
) -> None:
    """Note the mean Dice of `samples` after an epoch."""
    curve.append((engine.state.epoch, float(np.nanmean(dice_of_samples(network, samples, cache, boxes=boxes)[0]))))


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
