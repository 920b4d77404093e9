"""Pictures like AI-SAM's Figs. 4 and 5, on heart phantoms: points and masks, before and after a correction.

python scripts/picture_aisam.py --bundle acdc_aisam_segmentation --out docs/images/aisam_correction.png

Each row is one slice: truth, what the network does by itself with the points it chose, and the answer after one click
in the middle of what it missed of the worst class.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose
from PIL import Image, ImageOps

from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.datasets import LoadCased, acdc_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.slice_samples import slice_samples
from amsam_monai.evaluation.prompting.prompted import missed_middle
from amsam_monai.evaluation.scoring.overlap import count_overlap, dice
from amsam_monai.handlers import draw_overlay
from amsam_monai.networks.prompts.class_prompts import ClassPrompts
from amsam_monai.phantoms.sets import write_phantoms
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import three_channels

SIDE = 320


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="acdc_aisam_segmentation")
    parser.add_argument("--cases", type=int, default=6, help="phantoms to choose from")
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    with tempfile.TemporaryDirectory() as folder:
        list(write_phantoms("acdc", folder, cases=options.cases, seed=5))
        samples = slice_samples(acdc_datalist(folder), Compose([LoadCased(), Intensityd(**bundle.intensity)]))
    rows = [row for row in (one_row(bundle.network, sample) for sample in samples) if row is not None]
    chosen = sorted(rows, key=lambda row: -row[0])[: options.rows]
    sheet = np.concatenate([np.concatenate(tiles, axis=1) for _, tiles in chosen])
    with whole_file(options.out) as part:
        Image.fromarray(sheet).save(part, format="PNG", optimize=True)
    print(f"{options.out}: gains {', '.join(f'{gain:.2f}' for gain, _ in chosen)}")


def one_row(net, sample):
    """How much a click gains on a slice that shows all classes, and the three tiles; None where nothing is to gain."""
    image = three_channels(sample["image"].float())[None]
    label = sample["label"][0].numpy()
    if len(np.unique(label)) <= net.num_classes:
        return None
    first = net.segment(image)
    found = first.logits.argmax(1)[0].numpy()
    scores = [dice(count_overlap(found == k, label == k)) for k in range(1, net.num_classes + 1)]
    worst = int(np.argmin(scores)) + 1
    place = missed_middle(found == worst, label == worst)
    if place is None:
        return None
    xy = torch.full((1, net.num_classes, 1, 2), torch.nan)
    xy[0, worst - 1, 0] = torch.tensor(place, dtype=torch.float32)
    second = net.segment(image, ClassPrompts(xy, torch.ones_like(xy[..., 0])))
    gain = dice(count_overlap(second.logits.argmax(1)[0].numpy() == worst, label == worst)) - scores[worst - 1]
    tiles = [draw_overlay(image[0], label=sample["label"], pred=sample["label"], side=SIDE)]
    for answer in (first, second):
        prompts = answer.prompts
        tiles.append(
            draw_overlay(
                image[0],
                label=sample["label"],
                pred=answer.logits[0],
                points_xy=prompts.points_xy[0],
                point_labels=prompts.point_labels[0],
                side=SIDE,
            )
        )
    return gain, [np.asarray(ImageOps.pad(tile, (SIDE, SIDE), color="black")) for tile in tiles]


if __name__ == "__main__":
    main()
