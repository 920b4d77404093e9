"""AI-SAM's Table 1 on the validation patients of ACDC: one trained network under every kind of prompt, and baselines.

    AMSAM_DATA=DIR python scripts/benchmarks/aisam.py --bundle acdc_aisam_segmentation --out runs/aisam

Rows: automatic; generalised points; known classes; a random point beside; the true boxes; a detector's boxes; random
points in place of the learned ones (three seeds); SAM and LiteMedSAM with the true boxes. Dice is that of volumes,
strict, at native size. Also: the share of points inside their object, how well predicted quality follows the true Dice,
and what one click does for the 50 worst objects. Each row is one JSON file in --out/rows; what is there is kept.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose
from scipy.stats import spearmanr
from tqdm import tqdm

from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.datasets import LoadCased, acdc_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.sections import sections as cut
from amsam_monai.data.slice_samples import slice_samples
from amsam_monai.evaluation.prompting.prompted import (
    click_gain,
    random_points,
    run_one_mask_a_box,
    run_settings,
    true_boxes,
    true_presence,
)
from amsam_monai.evaluation.scoring.overlap import dice
from amsam_monai.networks.detector.files import load_detector
from amsam_monai.networks.prompts.class_prompts import ClassPrompts
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment.flips import FLIPS
from amsam_monai.transforms.intensity import Intensityd

DETECTOR = Path(__file__).parents[2] / "bundles" / "acdc_amsam_segmentation" / "models" / "detector.pth"
BASELINES = {"SAM, true box": ("vit_t", 512, "mobile_sam"), "LiteMedSAM, true box": ("lite_medsam", 256, "lite_medsam")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--bundle", default="acdc_aisam_segmentation")
    parser.add_argument("--every", type=int, default=1, help="score every n-th slice only, for a first look")
    parser.add_argument("--flips", nargs="*", default=[], choices=list(FLIPS), help="average over mirror images")
    parser.add_argument("--baselines", nargs="*", default=["SAM, true box"], choices=list(BASELINES), metavar="ROW")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    datalist = acdc_datalist(Path(arguments.data or os.environ["AMSAM_DATA"]) / "acdc")
    cases = cut(datalist, listed="acdc")["test"]
    load = Compose([LoadCased(), Intensityd(**bundle.intensity)])
    slices = slice_samples(cases, load, every=arguments.every)
    keep = partial(keep_rows, arguments.out / "rows", bundle.labels)
    net = bundle.network
    if not (arguments.out / "rows" / "facts.json").is_file():
        prompted = run_settings(net, slices, settings(net.num_classes), flips=arguments.flips, progress=tqdm)
        for name in prompted.answers:
            keep(name, prompted)
        net.one_hot = False
        keep(
            "generalised points",
            run_settings(net, slices, {"generalised points": no_prompts}, flips=arguments.flips, progress=tqdm),
        )
        net.one_hot = True
        write(arguments.out / "rows" / "facts.json", facts(net, slices, prompted.answers["automatic"]))
    for name in arguments.baselines:
        if (arguments.out / "rows" / f"{name}.json").is_file():
            continue
        backbone, size, weights = BASELINES[name]
        plain = AMSAM(
            build_sam(backbone, image_size=size, weights=weights), calibration="none", lora_rank=0, decoder="frozen"
        ).eval()
        keep(name, run_one_mask_a_box(plain, slices, net.num_classes, name, progress=tqdm))
    table(arguments.out, bundle.labels)


def no_prompts(*_):
    return None


def settings(classes: int) -> dict:
    """The rows that the trained network can do at once."""
    detector = load_detector(DETECTOR) if DETECTOR.is_file() else None

    def found_boxes(image, label, number):
        return ClassPrompts(box_xyxy=detector(image)[0])

    rows = {
        "automatic": no_prompts,
        "known classes": partial(true_presence, classes=classes),
        "random point beside": partial(random_points, classes=classes),
        "true box": partial(true_boxes, classes=classes),
    }
    if detector is not None:
        rows["detector's box"] = found_boxes
    for seed in range(3):
        rows[f"4 random points instead, seed {seed}"] = partial(
            random_points, classes=classes, count=4, seed=seed, alone=True
        )
    return rows


def keep_rows(folder: Path, labels: dict[int, str], name: str, prompted) -> None:
    write(folder / f"{name}.json", {labels[k]: scores for k, scores in prompted.volume_dice(name).items()})


def write(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def facts(net, slices, answers) -> dict:
    """Points, quality and clicks of the automatic answers."""
    there = [answer for answer in answers if answer.counts.label]
    scored = [a for a in answers if (a.counts.label or a.counts.pred) and np.isfinite(a.quality)]
    quality, truth = [a.quality for a in scored], [dice(a.counts) for a in scored]
    worst = sorted((a for a in there if a.counts.label >= 20), key=lambda a: dice(a.counts))[:50]
    before, after = click_gain(net, slices, worst)
    right = [(a.presence > 0.5) == bool(a.counts.label) for a in answers]
    return {
        "points inside their object": float(np.nanmean([a.points_inside for a in there])),
        "Spearman of quality and Dice, slices": float(spearmanr(quality, truth)[0]),
        "Pearson of quality and Dice, slices": float(np.corrcoef(quality, truth)[0, 1]),
        "presence right": float(np.mean(right)),
        "worst objects before a click": before,
        "worst objects after a click": after,
    }


def table(out: Path, labels: dict[int, str]) -> None:
    rows = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((out / "rows").glob("*.json"))}
    shown = rows.pop("facts", {})
    lines = ["| row | " + " | ".join(labels.values()) + " | mean |", "|---" + "|--:" * (len(labels) + 1) + "|"]
    for name, scores in rows.items():
        means = [float(np.nanmean(list(scores[label].values()))) for label in labels.values()]
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in [*means, np.mean(means)]) + " |")
    lines += ["", *(f"- {name}: {value:.3f}" for name, value in shown.items())]
    text = "\n".join(lines) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
