"""Pictures on one and on two Dask workers, and without Dask: seconds of each, once workers have their network.

    python scripts/benchmarks/cohort.py [--pictures 60] [--out cohort.json]

Random weights and noise, a thread for each worker. `two workers` and `one worker` are `--scheduler local:2` and
`local:1` of `amsam segment`; `no scheduler` takes the same steps here, one picture after the other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sides import tell

from amsam_monai.cluster.cluster import connect
from amsam_monai.cluster.segmenting import SegmentJob
from amsam_monai.segment.batch import BatchSegmenter, Job, plan


def build(told: str) -> BatchSegmenter:
    """What segments, on a worker or here."""
    import torch

    from amsam_monai.networks.sam import build_sam
    from amsam_monai.networks.systems.amsam import AMSAM
    from amsam_monai.segment.segmenter import Segmenter

    torch.set_num_threads(1)
    torch.manual_seed(0)
    asked = json.loads(told)
    network = AMSAM(build_sam(asked["backbone"], image_size=asked["image_size"]), num_classes=1)
    return BatchSegmenter(Segmenter(network, {1: "a"}))


def pictures(folder: Path, count: int, side: int) -> list[Job]:
    """Noise as PNG, and where its masks go."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8)).save(folder / f"{number:04}.png")
    return plan(folder, folder.parent / "out")


def refuse(status: str, error: str | None) -> None:
    """Stop where a picture failed."""
    if status != "done":
        raise RuntimeError(f"every picture must be segmented, got {error}")


def on_workers(workers: int, told: str, jobs: list[Job], folder: Path) -> float:
    """Seconds that workers take, after a picture each by which they build their network."""
    with connect(f"local:{workers}") as cluster:
        for what, some in (("first", jobs[: 4 * workers]), ("rest", jobs)):
            records = folder / f"{what}-{workers}"
            records.mkdir(exist_ok=True)
            begun = time.perf_counter()
            for _, record in cluster.as_done(SegmentJob(build, told, records), some):
                if isinstance(record, Exception):
                    raise record
                refuse(record.status, record.error)
            seconds = time.perf_counter() - begun
            for file in records.iterdir():  # a record that is there is not made again
                file.unlink()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_t")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON of all times")
    options = parser.parse_args()
    told = json.dumps({"backbone": options.backbone, "image_size": options.image_size})
    times: dict[str, list[float]] = {"two workers": [], "one worker": [], "no scheduler": []}
    here = build(told)
    with tempfile.TemporaryDirectory(prefix="amsam-cohort-") as name:
        folder = Path(name)
        jobs = pictures(folder / "in", options.pictures, options.image_size)
        here(jobs[0])  # the first call sets libraries up
        for _ in range(options.rounds):
            times["two workers"].append(on_workers(2, told, jobs, folder))
            times["one worker"].append(on_workers(1, told, jobs, folder))
            begun = time.perf_counter()
            for job in jobs:
                record = here(job)
                refuse(record.status, record.error)
            times["no scheduler"].append(time.perf_counter() - begun)
    tell({f"{options.pictures} pictures, {options.backbone} at {options.image_size}": times}, options.out)


if __name__ == "__main__":
    main()
