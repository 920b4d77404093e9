"""AM-SAM's Table 4 and its baselines on a few labelled images: every row, shot and draw, resumable.

    AMSAM_DATA=DIR python scripts/bench_fewshot.py --dataset isic --shots 4 8 16 --draws 3 --out runs/isic

Each run is one JSON file in --out/runs; what is there is not run again. Dice is that of the images that no draw
touches, at native size (strict) and on a 64 x 64 grid (for parity with BLO-SAM's code). Writes table.md, results.json,
convergence.png and, with --alphas, alpha.png.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose
from rich.progress import track

from amsam_monai.data.atomic import whole_file
from amsam_monai.data.datasets import LoadCased, image_folder_datalist, isic_datalist
from amsam_monai.data.few_shot import few_shot_sections
from amsam_monai.data.phantoms import lesion_phantoms
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.few_shot import FewShotSettings, dice_of_samples, few_shot_trainer
from amsam_monai.engines.fit_detector import load_or_fit_detector
from amsam_monai.networks.amsam import AMSAM
from amsam_monai.networks.boxes import box_iou, class_boxes
from amsam_monai.networks.sam import build_sam
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import ToThreeChannelsd

# row -> (uses the detector, calibration, bi-level, trains)
ROWS = {
    "SAM + detector": (True, "none", False, False),
    "BLO-SAM": (False, "none", True, True),
    "AM-SAM, calibration alone": (False, "fused", True, True),
    "AM-SAM, detector alone": (True, "none", True, True),
    "AM-SAM": (True, "fused", True, True),
    "AM-SAM, paper calibration": (True, "paper", True, True),
    "AM-SAM, one level": (True, "fused", False, True),
    "BLO-SAM, one level": (False, "none", False, True),
}
BOX_IOU = {"isic": 0.65, "human": 0.85, "tiktok": 0.85}
LESION_START = Path(__file__).parents[1] / "bundles" / "isic_amsam_segmentation" / "models" / "lesion_start.pth"
VIEWS = {"isic": 8, "kvasir": 8, "glas": 8, "human": 2, "tiktok": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--dataset", required=True, choices=list(VIEWS))
    parser.add_argument("--shots", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rows", nargs="+", default=list(ROWS)[:5], choices=list(ROWS), metavar="ROW")
    parser.add_argument("--alphas", type=float, nargs="*", default=[], help="also sweep alpha, 8 shots, first draw")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    for draw in range(arguments.draws):
        for shots in arguments.shots:
            for row in arguments.rows:
                bench.run(row, shots, draw)
    for alpha in arguments.alphas:
        bench.run("AM-SAM", 8, 0, alpha=alpha)
    bench.summarise()


class Bench:
    """The data of one set, and its runs."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.dataset, self.out = arguments, arguments.dataset, arguments.out
        root = Path(arguments.data or os.environ["AMSAM_DATA"]) / self.dataset
        listed = isic_datalist(root) if self.dataset == "isic" else image_folder_datalist(root, preset=self.dataset)
        self.datalist = listed
        self.load = Compose([LoadCased(), Intensityd(mode="unit8"), ToThreeChannelsd()])
        self.test: list[dict] = []

    def run(self, row: str, shots: int, draw: int, alpha: float = 0.7) -> None:
        name = f"{row.replace(' ', '_').replace(',', '')}_{shots}_{draw}" + (f"_alpha{alpha}" if alpha != 0.7 else "")
        path = self.out / "runs" / f"{name}.json"
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        boxed, calibration, bilevel, trains = ROWS[row]
        sections = few_shot_sections(self.datalist, shots=shots, draw=draw, dataset=self.dataset)
        self.test = self.test or [self.load(case) for case in track(sections["test"], "test images")]
        samples = [self.load(case) for case in sections["train"]]
        torch.manual_seed(draw)
        network = AMSAM(
            build_sam("vit_t", image_size=self.arguments.image_size, weights="mobile_sam"),
            calibration=calibration,
            alpha=alpha,
        )
        cache = embedding_cache(network)
        boxes, found = self.boxes(samples, shots, draw) if boxed else (None, {})
        settings = FewShotSettings(epochs=self.arguments.epochs, views=VIEWS[self.dataset], bilevel=bilevel, seed=draw)
        settings = replace(settings, box_iou=BOX_IOU.get(self.dataset, 0.8) if boxed else None)
        curve: list[tuple[int, float]] = []
        seconds = 0.0
        if trains:
            trainer = few_shot_trainer(network, samples, cache, settings)
            start = time.perf_counter()
            trainer.run()
            seconds = time.perf_counter() - start
        native, coarse = dice_of_samples(network, self.test, cache, boxes=boxes)
        result = {
            "row": row,
            "shots": shots,
            "draw": draw,
            "alpha": alpha,
            "dice": float(np.nanmean(native)),
            "dice_64": float(np.nanmean(coarse)),
            "per_image": {s["case_id"]: float(d) for s, d in zip(self.test, native, strict=True)},
            "train": [str(s["case_id"]) for s in samples],
            "seconds": seconds,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "settings": asdict(settings),
            "curve": curve,
            **found,
        }
        with whole_file(path) as part:
            part.write_text(json.dumps(result, indent=1))
        print(f"{row:28} {shots:2} shots draw {draw}: Dice {result['dice']:.4f} ({seconds:.0f} s)", flush=True)

    def boxes(self, samples: list[dict], shots: int, draw: int) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        """The detector's boxes of the test images, and how good they are."""
        start = time.perf_counter()
        known = {"known_classes": [0]} if self.dataset in ("human", "tiktok") else {"seed": draw}  # COCO knows persons
        if self.dataset == "isic":
            known |= {"start": LESION_START, "extra": lesion_phantoms(200), "steps": 60, "learning_rate": 5e-4}
        path = self.out / "detectors" / f"{shots}_{draw}.pth"
        detector = load_or_fit_detector(path, samples, class_names=["object"], **known)
        seconds = time.perf_counter() - start
        boxes = {s["case_id"]: detector(s["image"][None].as_tensor())[0][0] for s in self.test}
        overlap = torch.stack([box_iou(boxes[s["case_id"]], class_boxes(s["label"][None], 1)[0])[0] for s in self.test])
        quality = {"box_iou": float(overlap.mean()), "box_recall": float((overlap >= 0.5).float().mean())}
        return boxes, {**quality, "detector_seconds": seconds}

    def summarise(self) -> None:
        runs = [json.loads(path.read_text()) for path in sorted((self.out / "runs").glob("*.json"))]
        lines = [
            "| row | shots | Dice | Dice on 64 x 64 | box IoU | box recall | seconds | draws |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for row in ROWS:
            for shots in sorted({run["shots"] for run in runs}):
                group = [r for r in runs if (r["row"], r["shots"], r["alpha"]) == (row, shots, 0.7)]
                if group:
                    lines.append(_line(row, shots, group))
        text = "\n".join(lines) + "\n"
        (self.out / "table.md").write_text(text)
        (self.out / "results.json").write_text(json.dumps(runs, indent=1))
        print(text)


def _line(row: str, shots: int, group: list[dict]) -> str:
    def cell(key: str) -> str:
        values = [100 * run[key] for run in group if key in run]
        return f"{np.mean(values):.1f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.1f}" if values else ""

    seconds = np.median([run["seconds"] for run in group])
    cells = [
        row,
        shots,
        cell("dice"),
        cell("dice_64"),
        cell("box_iou"),
        cell("box_recall"),
        f"{seconds:.0f}",
        len(group),
    ]
    return "| " + " | ".join(str(value) for value in cells) + " |"


if __name__ == "__main__":
    main()
