"""The three methods in one network on a few lesions: every part left out in turn, and each method alone.

    AMSAM_DATA=DIR python scripts/bench_unified.py --shots 8 --draws 3 --out runs/unified

Each run is one JSON file in --out/runs; what is there is not run again. Dice of the images that no draw touches,
strict, at native size. The embeddings of flipped and turned views are cached.
"""

from __future__ import annotations

import argparse
import json
import os
import time
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
from amsam_monai.losses import AISAMLoss
from amsam_monai.networks.prompt_generator import PromptGenerator
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.unified import build_unified
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import SquareImaged, ToThreeChannelsd
from amsam_monai.transforms.views import FlippedViews

# row -> (points, detector's box, dense prompt, calibration)
ROWS = {
    "all parts": (True, True, True, "fused"),
    "without points": (False, True, True, "fused"),
    "without box": (True, False, True, "fused"),
    "without dense prompt": (True, True, False, "fused"),
    "without calibration": (True, True, True, "none"),
    "AI-SAM alone": (True, False, False, "none"),
    "AutoSAM alone, with LoRA": (False, False, True, "none"),
}
LESION_START = Path(__file__).parents[1] / "bundles" / "isic_amsam_segmentation" / "models" / "lesion_start.pth"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
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
        for row in options.rows:
            path = options.out / "runs" / f"{row.replace(' ', '_')}_{draw}.json"
            if path.is_file():
                continue
            test = test or [load(case) for case in sections["test"]]
            result = {
                "row": row,
                "draw": draw,
                **one_run(options, row, draw, [load(c) for c in sections["train"]], test),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part:
                part.write_text(json.dumps(result, indent=1))
            print(f"{row}, draw {draw}: {result['dice']:.4f} ({result['seconds']:.0f} s)", flush=True)
    table(options)


def one_run(options, row: str, draw: int, samples: list, test: list) -> dict:
    points, boxed, dense, calibration = ROWS[row]
    torch.manual_seed(draw)
    sam = build_sam("vit_t", image_size=options.image_size, weights="mobile_sam")
    detector = fitted(options, samples, draw) if boxed else None
    generator = PromptGenerator("sam", grid=sam.grid, weights="efficientnet_lite0") if dense else None
    net = build_unified(
        sam, points=points, detector=detector, generator=generator, calibration=calibration, depth=2, gate=False
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
        loss_function=AISAMLoss(image_size=options.image_size, prompt_weight=float(points)),
        inferer=AutocastInferer(),
        prepare_batch=PrepareSystemBatch(
            low_res=True, presence=1, extras=True, boxes=SimulatedBoxes(mean_iou=0.65, p_drop=0.0) if boxed else None
        ),
        train_handlers=[PolynomialDecay(optimizer, warmup=10), ClipGradients(net)],
    )
    start = time.perf_counter()
    trainer.run()
    seconds = time.perf_counter() - start
    native, _ = dice_of_samples(net, test, cache)
    return {"dice": float(np.nanmean(native)), "seconds": seconds, "per_image": [float(value) for value in native]}


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
    lines = ["| row | Dice | seconds | draws |", "|---|--:|--:|--:|"]
    for row in ROWS:
        values = [100 * run["dice"] for run in runs if run["row"] == row]
        if values:
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            seconds = np.median([run["seconds"] for run in runs if run["row"] == row])
            lines.append(f"| {row} | {np.mean(values):.1f}{spread} | {seconds:.0f} | {len(values)} |")
    text = "\n".join(lines) + "\n"
    (options.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
