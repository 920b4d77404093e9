"""Volumes through `amsam segment`'s own run: what share of the time the network has, and what overlapping is worth.

    python scripts/benchmarks/volume.py [--shape 256 256 100] [--volumes 3] [--out volume.json]

Random weights and noise. `run` reads the next volume and writes the last one while the network has one; `one by one`
does not, and the lines below it say what it spends its time on. `network` is the time in encoder and decoder within
`run`: its ratio is the share. On a GPU that time is the GPU's own, from each call's first kernel to its last.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from sides import tell

from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment.autocast import PRECISIONS
from amsam_monai.segment.batch import BatchSegmenter, Case, Extras, plan
from amsam_monai.segment.segmenter import Segmenter


class Clock:
    """Seconds that a network works."""

    def __init__(self, network: torch.nn.Module, device: str) -> None:
        self.cuda = device.startswith("cuda")
        self.marks: list[Any] = []
        network.register_forward_pre_hook(self.mark)
        network.register_forward_hook(self.mark)

    def mark(self, *_: object) -> None:
        """Note the moment; a GPU notes its own."""
        if self.cuda:
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def seconds(self) -> float:
        """Since the last time that it was asked."""
        marks, self.marks = self.marks, []
        pairs = list(zip(marks[::2], marks[1::2], strict=True))
        if not self.cuda:
            return float(sum(end - start for start, end in pairs))
        torch.cuda.synchronize()
        return sum(start.elapsed_time(end) for start, end in pairs) / 1000


class Staged(BatchSegmenter):
    """Notes the seconds of each stage."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stages = {"reading": 0.0, "segmenting": 0.0, "writing": 0.0}

    def _noted(self, stage: str, run: Callable[[Case], Case], case: Case) -> Case:
        begun = time.perf_counter()
        case = run(case)
        self.stages[stage] += time.perf_counter() - begun
        return case

    def _read(self, case: Case) -> Case:
        return self._noted("reading", super()._read, case)

    def _segment(self, case: Case) -> Case:
        return self._noted("segmenting", super()._segment, case)

    def _write(self, case: Case) -> Case:
        return self._noted("writing", super()._write, case)


def write_volumes(folder: Path, shape: tuple[int, int, int], count: int) -> None:
    """Noise with a ball in it, as 16-bit integers, compressed as usual."""
    rng = np.random.default_rng(0)
    axes = np.ogrid[tuple(slice(-1, 1, length * 1j) for length in shape)]
    ball = 600 * (sum(axis**2 for axis in axes) < 0.3)
    folder.mkdir(parents=True)
    for number in range(count):
        voxels = (rng.normal(0, 60, shape) + ball).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 2.0, 1.0])), folder / f"{number}.nii.gz")


def measure(
    backbone: str,
    image_size: int,
    shape: tuple[int, int, int],
    volumes: int,
    rounds: int,
    *,
    device: str = "cpu",
    precision: str = "float32",
    compile: str | None = None,
    extras: Extras | None = None,
) -> dict[str, list[float]]:
    """Seconds of `volumes` volumes by side, in each round."""
    model = AMSAM(build_sam(backbone, image_size=image_size), num_classes=3)
    segmenter = Segmenter(
        model, {1: "a", 2: "b", 3: "c"}, device=device, precision=precision, compile=compile,
        intensity={"mode": "percentile"},
    )  # fmt: skip
    clock = Clock(model, device)
    batch = Staged(segmenter, extras=extras)
    parts = ("reading", "network, one by one", "around the network", "writing")
    times: dict[str, list[float]] = {side: [] for side in ("run", "network", "one by one", *parts)}

    def refuse(record: Any) -> None:
        if record.status != "done":
            raise RuntimeError(f"every volume must be segmented, got {record.error}")

    def timed(run: Callable[[], object]) -> float:
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    with tempfile.TemporaryDirectory(prefix="amsam-volume-") as name:
        write_volumes(Path(name, "in"), shape, volumes)
        jobs = plan(Path(name, "in"), Path(name, "out"))
        batch.run(jobs[:1], refuse)  # the first call sets libraries up
        for _ in range(rounds):
            clock.seconds()
            times["run"].append(timed(lambda: batch.run(jobs, refuse)))
            times["network"].append(clock.seconds())
            batch.stages = dict.fromkeys(batch.stages, 0.0)
            times["one by one"].append(timed(lambda: [refuse(batch(job)) for job in jobs]))
            network = clock.seconds()
            each = (batch.stages["reading"], network, batch.stages["segmenting"] - network, batch.stages["writing"])
            for part, seconds in zip(parts, each, strict=True):
                times[part].append(seconds)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_t")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 100))
    parser.add_argument("--volumes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--compile")
    parser.add_argument("--probabilities", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON of all times")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = (options.shape[0], options.shape[1], options.shape[2])
    times = measure(
        options.backbone,
        options.image_size,
        shape,
        options.volumes,
        options.rounds,
        device=options.device,
        precision=options.precision,
        compile=options.compile,
        extras=Extras(probabilities=options.probabilities),
    )
    row = f"{options.volumes} volumes of {' x '.join(map(str, shape))}, {options.backbone} at {options.image_size}"
    tell({row: times}, options.out, threads=options.threads, device=options.device)


if __name__ == "__main__":
    main()
