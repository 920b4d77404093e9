"""What each part of AI-SAM and of the unified network is worth, on a few lesions: rows like the paper's Tables 2 and 3.

    AMSAM_DATA=DIR python scripts/bench_aisam_parts.py --table parts points losses --out runs/parts

parts: the three methods in one network, every part left out in turn, and each alone. points: number of points a class.
losses: terms of the prompt heuristic loss left out; one-hot points in training, and generalised ones at the end. Each
run is one JSON file in --out/runs; what is there is not run again. Dice of the images that no draw touches, strict, at
native size. The encoder is frozen, and the embeddings of flipped and turned views are cached.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from monai.transforms import Compose

from amsam_monai.data.atomic import whole_file
from amsam_monai.data.datasets import LoadCased, isic_datalist
from amsam_monai.data.embedding_dataset import CachedEmbeddingDataset
from amsam_monai.data.few_shot import few_shot_sections
from amsam_monai.data.phantoms import lesion_phantoms
from amsam_monai.engines import PrepareSystemBatch, SimulatedBoxes, embedding_cache, epoch_loader
from amsam_monai.engines.few_shot import dice_of_samples
from amsam_monai.engines.fit_detector import load_or_fit_detector
from amsam_monai.handlers import ClipGradients, PolynomialDecay
from amsam_monai.inferers.autocast import AutocastInferer
from amsam_monai.losses import AISAMLoss, PromptHeuristicLoss
from amsam_monai.networks.prompt_generator import PromptGenerator
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.unified import build_unified
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import SquareImaged, ToThreeChannelsd
from amsam_monai.transforms.views import FlippedViews


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
        "AutoSAM alone, with LoRA": Row(points=False, dense=True),
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
LESION_START = Path(__file__).parents[1] / "bundles" / "isic_amsam_segmentation" / "models" / "lesion_start.pth"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--table", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="these rows of the tables only")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100, help="batches of 4 views")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    datalist = isic_datalist(Path(options.data or os.environ["AMSAM_DATA"]) / "isic")
    load = Compose([LoadCased(), Intensityd(mode="unit8"), ToThreeChannelsd()])
    test: list = []
    for draw in range(options.draws):
        sections = few_shot_sections(datalist, shots=options.shots, draw=draw, dataset="isic")
        for row, chosen in rows_of(options).items():
            path = options.out / "runs" / f"{row.replace(' ', '_')}_{draw}.json"
            if path.is_file():
                continue
            test = test or [load(case) for case in sections["test"]]
            samples = [load(case) for case in sections["train"]]
            result = {"row": row, "draw": draw, **one_run(options, chosen, draw, samples, test)}
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part:
                part.write_text(json.dumps(result, indent=1))
            print(f"{row}, draw {draw}: {result['dice']:.4f} ({result['seconds']:.0f} s)", flush=True)
    table(options)


def rows_of(options) -> dict[str, Row]:
    rows = {name: row for table in options.table for name, row in TABLES[table].items()}
    return {name: row for name, row in rows.items() if not options.rows or name in options.rows}


def one_run(options, row: Row, draw: int, samples: list, test: list) -> dict:
    torch.manual_seed(draw)
    sam = build_sam("vit_t", image_size=options.image_size, weights="mobile_sam")
    net = build_unified(
        sam,
        points=row.points,
        detector=fitted(options, samples, draw) if row.box else None,
        generator=PromptGenerator("sam", grid=sam.grid, weights="efficientnet_lite0") if row.dense else None,
        calibration=row.calibration,
        num_points=row.num_points,
        train_one_hot=row.train_one_hot,
        one_hot=row.one_hot,
        depth=2,
        gate=False,
    )
    cache = embedding_cache(net)
    dataset = CachedEmbeddingDataset(
        samples,
        SquareImaged(size=options.image_size),
        cache=cache,
        encode=net.encode,
        augment=FlippedViews(),
        views=8,
        keep=1024,
        progress=False,
    )
    optimizer = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad], options.learning_rate, weight_decay=0.05
    )
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=epoch_loader(dataset, batch_size=4, batches=options.steps, seed=draw),
        network=net,
        optimizer=optimizer,
        loss_function=AISAMLoss(
            image_size=options.image_size, prompt_loss=PromptHeuristicLoss(**row.loss), prompt_weight=float(row.points)
        ),
        inferer=AutocastInferer(),
        prepare_batch=PrepareSystemBatch(
            low_res=True, presence=1, extras=True, boxes=SimulatedBoxes(mean_iou=0.65, p_drop=0.0) if row.box else None
        ),
        train_handlers=[PolynomialDecay(optimizer, warmup=10), ClipGradients(net)],
    )
    start = time.perf_counter()
    trainer.run()
    seconds = time.perf_counter() - start
    native, _ = dice_of_samples(net, test, cache)
    inside = points_inside(net, test, cache) if row.points else float("nan")
    per_image = [float(value) for value in native]
    return {"dice": float(np.nanmean(native)), "inside": inside, "seconds": seconds, "per_image": per_image}


def points_inside(net, test: list, cache) -> float:
    """Share of the lesion's automatic points that lie in it."""
    shares = []
    for sample in test:
        image = sample["image"].as_tensor()[None]
        answer = net.segment(image, embedding=cache.get_or_compute(sample["image"], net.encode)[None].to(image))
        label = sample["label"].as_tensor()[0] == 1
        own = answer.prompts.points_xy[0, 0][answer.prompts.point_labels[0, 0] > 0].round().long()
        rows, columns = own[:, 1].clamp(0, label.shape[0] - 1), own[:, 0].clamp(0, label.shape[1] - 1)
        shares.append(float(label[rows, columns].float().mean()))
    return float(np.mean(shares))


def fitted(options, samples: list, draw: int):
    return load_or_fit_detector(
        options.out / "detectors" / f"{options.shots}_{draw}.pth",
        samples,
        class_names=["lesion"],
        start=LESION_START,
        extra=lesion_phantoms(200),
        steps=60,
        learning_rate=5e-4,
        seed=draw,
    )


def table(options) -> None:
    runs = [json.loads(path.read_text()) for path in sorted((options.out / "runs").glob("*.json"))]
    lines = ["| row | Dice | points inside | seconds | draws |", "|---|--:|--:|--:|--:|"]
    for row in rows_of(options):
        group = [run for run in runs if run["row"] == row]
        if group:
            cells = [mean_sd([100 * run[key] for run in group]) for key in ("dice", "inside")]
            lines.append(
                f"| {row} | {' | '.join(cells)} | {np.median([r['seconds'] for r in group]):.0f} | {len(group)} |"
            )
    text = "\n".join(lines) + "\n"
    (options.out / "table.md").write_text(text)
    print(text)


def mean_sd(values: list[float]) -> str:
    if np.isnan(values).any():
        return ""
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
