"""What each part of AI-SAM and of the unified network is worth: rows like the paper's Tables 2 and 3.

    AMSAM_DATA=DIR python scripts/benchmarks/aisam_parts.py --dataset isic --image-size 256 --out runs/parts_isic
    AMSAM_DATA=DIR python scripts/benchmarks/aisam_parts.py --dataset acdc --image-size 384 --out runs/parts_acdc

parts: the three methods in one network, every part left out in turn, and each alone. points: number of points a class.
losses: terms of the prompt heuristic loss left out; one-hot points in training, and generalised ones at the end. Each
run is one JSON file in --out/runs; what is there is not run again. Dice is strict, at native size.

isic: 8 lesions of a draw, MobileSAM's encoder; scored on the images that no draw touches. acdc: every 4th slice of the
training patients, the encoder of acdc_aisam_segmentation and a decoder from MobileSAM, a draw is a seed; scored on the
volumes of the validation patients, every 2nd slice. The encoder is frozen, and embeddings are cached.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose
from row_table import FOLDER

from amsam_monai.bundles.load import load_bundle
from amsam_monai.bundles.run import run_training
from amsam_monai.data.datasets import LoadCased, acdc_datalist, isic_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.sections import sections as cut
from amsam_monai.data.slice_samples import slice_samples
from amsam_monai.engines import SimulatedBoxes, embedding_cache
from amsam_monai.engines.fit_detector import load_or_fit_detector
from amsam_monai.evaluation.prompting.prompted import run_settings
from amsam_monai.networks.detector.files import load_detector
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.unified import build_unified
from amsam_monai.phantoms.sets import lesion_phantoms
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import ToThreeChannelsd


@dataclass(frozen=True)
class Row:
    """A network and how it trains."""

    points: bool = True
    box: bool = False
    dense: bool = False
    calibration: str = "none"
    num_points: int = 4
    loss: dict = field(default_factory=dict)  # arguments of PromptHeuristicLoss
    train_one_hot: bool = False
    one_hot: bool = True


ALL = {"box": True, "dense": True, "calibration": "fused"}
NO_DIVERSITY, NO_SHARP = {"alpha_diverse": 0.0}, {"alpha_sharp": 0.0}
TABLES = {
    "parts": {
        "all parts": Row(**ALL),
        "without points": Row(points=False, **ALL),
        "without box": Row(**{**ALL, "box": False}),
        "without dense prompt": Row(**{**ALL, "dense": False}),
        "without calibration": Row(**{**ALL, "calibration": "none"}),
        "AI-SAM alone": Row(),
        "AM-SAM alone": Row(points=False, **{**ALL, "dense": False}),
        "AutoSAM alone, with LoRA": Row(points=False, dense=True),
        "box and dense prompt": Row(points=False, box=True, dense=True),
    },
    "points": {f"{count} points": Row(num_points=count) for count in (1, 2, 4, 8)},
    "losses": {
        "correctness alone": Row(loss={**NO_SHARP, **NO_DIVERSITY}),
        "correctness and sharpness": Row(loss=NO_DIVERSITY),
        "all terms": Row(),
        "all terms, generalised at the end": Row(one_hot=False),
        "all terms, one-hot in training": Row(train_one_hot=True),
    },
}
BUNDLES = Path(__file__).parents[2] / "bundles"


class Isic:
    """A few lesions."""

    classes, views, box_iou, encoder, bundle = 1, 8, 0.72, None, "isic_aisam_segmentation"

    def __init__(self, options) -> None:
        self.options = options
        self.datalist = isic_datalist(Path(options.data) / "isic")
        self.load = Compose([LoadCased(), Intensityd(mode="bit_depth"), ToThreeChannelsd()])
        self.test = [self.load(case) for case in self.sections(0)["test"]]

    def sections(self, draw: int) -> dict[str, list]:
        return cut(self.datalist, shots=self.options.shots, draw=draw, listed="isic")

    def samples(self, draw: int) -> list:
        return [self.load(case) for case in self.sections(draw)["train"]]

    def detector(self, draw: int, samples: list):
        return load_or_fit_detector(
            self.options.out / "detectors" / f"{self.options.shots}_{draw}.pth",
            samples,
            class_names=["lesion"],
            start=BUNDLES / "isic_amsam_segmentation" / "models" / "lesion_start.pth",
            extra=lesion_phantoms(200),
            steps=60,
            learning_rate=5e-4,
            seed=draw,
            snap_to_dark_object=True,
        )


class Acdc:
    """Slices of hearts, and an encoder that knows them."""

    classes, views, box_iou, bundle = 3, 1, 0.75, "acdc_aisam_segmentation"

    def __init__(self, options) -> None:
        bundle = load_bundle("acdc_aisam_segmentation")
        sections = cut(acdc_datalist(Path(options.data) / "acdc"), listed="acdc")
        load = Compose([LoadCased(), Intensityd(**bundle.intensity), ToThreeChannelsd()])
        self.encoder = bundle.network.sam.image_encoder.state_dict()
        self.train, self.test = (
            [{**s, "image": s["image"].float()} for s in slice_samples(sections[part], load, every=every)]
            for part, every in (("train", 4), ("test", 2))
        )

    def samples(self, draw: int) -> list:
        return self.train

    def detector(self, draw: int, samples: list):
        return load_detector(BUNDLES / "acdc_amsam_segmentation" / "models" / "detector.pth")


TASKS = {"isic": Isic, "acdc": Acdc}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--dataset", choices=list(TASKS), default="isic")
    parser.add_argument("--shots", type=int, default=8, help="lesions")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--table", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="these rows of the tables only")
    parser.add_argument("--class-prompts", type=int, default=0, help="learned prompts of each class, in every row")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100, help="batches of 4 views")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.data = options.data or os.environ["AMSAM_DATA"]
    task = TASKS[options.dataset](options)
    for draw in range(options.draws):
        for row, chosen in rows_of(options).items():
            path = run_file(options.out, chosen, draw)
            if path.is_file():
                continue
            result = {"draw": draw, **one_run(options, task, chosen, draw)}
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part:
                part.write_text(json.dumps(result, indent=1), encoding="utf-8")
            print(f"{row}, draw {draw}: {result['dice']:.4f} ({result['seconds']:.0f} s)", flush=True)
    table(options)


def rows_of(options) -> dict[str, Row]:
    rows = {name: row for table in options.table for name, row in TABLES[table].items()}
    return {name: row for name, row in rows.items() if not options.rows or name in options.rows}


def run_file(out: Path, row: Row, draw: int) -> Path:
    """Where a run is kept; rows of two tables that are the same network share it."""
    name = next(name for table in TABLES.values() for name, same in table.items() if same == row)
    return out / "runs" / f"{name.replace(' ', '_')}_{draw}.json"


def one_run(options, task, row: Row, draw: int) -> dict:
    torch.manual_seed(draw)
    samples = task.samples(draw)
    sam = build_sam("vit_t", image_size=options.image_size, weights="mobile_sam")
    if task.encoder is not None:
        sam.image_encoder.load_state_dict(task.encoder)
    net = build_unified(
        sam,
        num_classes=task.classes,
        points=row.points,
        detector=task.detector(draw, samples) if row.box else None,
        generator=generator(sam.grid, task.classes) if row.dense else None,
        calibration=row.calibration,
        num_points=row.num_points,
        num_class_prompts=options.class_prompts,
        train_one_hot=row.train_one_hot,
        one_hot=row.one_hot,
        depth=2,
        gate=False,
    )
    boxes = SimulatedBoxes(task.classes, mean_iou=task.box_iou, p_drop=0.0) if row.box else None
    with tempfile.TemporaryDirectory(prefix="amsam-bench-") as folder:
        result = run_training(
            task.bundle,
            configs=("train", FOLDER / "parts.yaml"),
            datalist={"train": samples, "val": [], "test": []},
            root=folder,
            overrides={
                "network_def": net,
                "settings#sam#image_size": options.image_size,
                "seed": draw,
                "max_epochs": 1,
                "steps_per_epoch": options.steps,
                "views": task.views,
                "learning_rate": options.learning_rate,
                "warmup": 10,
                "prompt_weight": float(row.points),
                **{f"loss#prompt_loss#{name}": value for name, value in row.loss.items()},
                "train#trainer#prepare_batch#boxes": boxes,
            },
        )
    return {**scores(net.eval(), task, embedding_cache(net)), "seconds": result.seconds}


def generator(grid: int, classes: int) -> PromptGenerator:
    return PromptGenerator("sam", grid=grid, num_classes=classes, weights="efficientnet_lite0")


def scores(net, task, cache) -> dict:
    """Mean Dice of classes and cases, and the share of automatic points inside their object."""
    kept = partial(embedded, net, cache)
    answers = run_settings(net, task.test, {"automatic": lambda *_: None}, encode=kept)
    by_class = answers.volume_dice("automatic")
    inside = [answer.points_inside for answer in answers.answers["automatic"]]
    return {
        "dice": float(np.mean([np.nanmean(list(scores.values())) for scores in by_class.values()])),
        "inside": float("nan") if np.isnan(inside).all() else float(np.nanmean(inside)),
        "per_case": by_class,
    }


def embedded(net, cache, image: torch.Tensor) -> torch.Tensor:
    return cache.get_or_compute(image[0], net.encode)[None].to(image)


def table(options) -> None:
    lines = ["| row | Dice | points inside | seconds | draws |", "|---|--:|--:|--:|--:|"]
    for row, chosen in rows_of(options).items():
        paths = [run_file(options.out, chosen, draw) for draw in range(options.draws)]
        group = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
        if group:
            cells = [mean_sd([100 * run[key] for run in group]) for key in ("dice", "inside")]
            lines.append(
                f"| {row} | {' | '.join(cells)} | {np.median([r['seconds'] for r in group]):.0f} | {len(group)} |"
            )
    text = "\n".join(lines) + "\n"
    (options.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def mean_sd(values: list[float]) -> str:
    if np.isnan(values).any():
        return ""
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
