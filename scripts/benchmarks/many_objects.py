"""What a picture with many objects costs beside one with a single object: embedding once, prompt sets in batches.

    python scripts/benchmarks/many_objects.py --counts 1 30 300 --image-size 512

Dark discs on a bright ground, like nuclei, segmented and numbered as `amsam segment --instances` does. The boxes are
the true ones; a detector, where --detector names its file, looks for as many and only spends its time. With
`--weights none` SAM's are random.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from amsam_monai.networks.detector.files import load_detector
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment.segmenter import Segmenter


class TrueBoxes(nn.Module):
    """The same boxes for every image. Shape: image (B, 3, H, W) -> boxes (B, 1, M, 4), confidence (B, 1, M)."""

    def __init__(self, boxes: Tensor, file: Path | None = None) -> None:
        super().__init__()
        self.boxes = boxes  # (M, 4)
        options = {"object_confidence": 0.0, "most_objects": len(boxes)}
        self.detector = None if file is None else load_detector(file, **options)

    def objects(self, image: Tensor) -> tuple[Tensor, Tensor]:
        if self.detector is not None:
            self.detector.objects(image)
        boxes = self.boxes.expand(len(image), 1, -1, -1)
        return boxes, torch.ones_like(boxes[..., 0])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        boxes, sure = self.objects(image)
        return boxes[:, :, 0], sure[:, :, 0]


def picture(count: int, side: int) -> tuple[np.ndarray, Tensor]:
    """A picture (side, side, 3) with `count` discs in rows, and their boxes (count, 4)."""
    across = math.ceil(math.sqrt(count))
    step = side / across
    radius = 0.35 * min(step, side / 8)
    rows, columns = np.mgrid[:side, :side] + 0.5
    pixels, boxes = np.full((side, side), 220, np.uint8), []
    for number in range(count):
        y, x = ((place + 0.5) * step for place in divmod(number, across))
        pixels[np.hypot(rows - y, columns - x) <= radius] = 70
        boxes.append([x - radius, y - radius, x + radius, y + radius])
    return np.repeat(pixels[..., None], 3, axis=2), torch.tensor(boxes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 30, 300])
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--weights", default="mobile_sam")
    parser.add_argument("--detector", type=Path, help="file of a detector")
    parser.add_argument("--windows", action="store_true", help="decode small objects in windows")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    weights = None if arguments.weights == "none" else arguments.weights
    sam = build_sam("vit_t", image_size=arguments.image_size, weights=weights)
    print(f"{torch.get_num_threads()} threads, {arguments.device}, {arguments.image_size} px")
    first = 0.0
    for count in arguments.counts:
        pixels, boxes = picture(count, arguments.image_size)
        detector = TrueBoxes(boxes, arguments.detector)
        net = AMSAM(sam, detector=detector, objects="all", lora_rank=0, windows=arguments.windows)
        net = net.to(arguments.device)
        with TemporaryDirectory() as folder:
            Image.fromarray(pixels).save(Path(folder) / "discs.png")
            segmenter = Segmenter(net, {1: "nucleus"})
            segmenter(Path(folder) / "discs.png")  # warm
            spent = []
            for _ in range(arguments.repeats):
                begun, work = time.perf_counter(), time.process_time()
                found = segmenter(Path(folder) / "discs.png", instances=True)
                spent.append((time.perf_counter() - begun, time.process_time() - work))
        wall, work = (min(column) for column in zip(*spent, strict=True))
        first = first or work
        told = f"{wall:.2f} s, {work:.2f} s of processors, {work / first:.2f} times the first"
        print(f"{count:4} objects, {len(found.instances.rows)} numbered: {told}", flush=True)


if __name__ == "__main__":
    main()
