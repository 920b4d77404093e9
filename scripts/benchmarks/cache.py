"""Seconds of an epoch with and without the embedding cache, and their ratio, on phantoms.

    python scripts/benchmarks/cache.py --precision bfloat16

The two trainings differ in nothing else: without the cache the frozen encoder runs on every image of every batch. Both
losses are printed too; they are the same, for what is computed is rounded as what is kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from ignite.engine import Engine, Events
from row_table import BOXLESS

from amsam_monai.bundles.run import run_training
from amsam_monai.phantoms.sets import write_phantoms
from amsam_monai.segment.autocast import PRECISIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--weights", default="mobile_sam")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    arguments = parser.parse_args()
    epochs: dict[bool, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        list(write_phantoms("isic", folder / "data", cases=arguments.shots))
        for cached in (True, False):
            epochs[cached], losses = train(arguments, folder, cached)
            shown = ", ".join(f"{seconds:.2f}" for seconds in epochs[cached])
            print(f"{'with' if cached else 'without'} cache: {shown} s of processor time an epoch; losses {losses}")
    print(f"ratio of the fastest epochs: {min(epochs[False]) / min(epochs[True]):.1f}")


class Clock:
    """Processor seconds and last loss of each epoch."""

    def __init__(self) -> None:
        self.start, self.seconds, self.losses = 0.0, [], []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.end)

    def begin(self) -> None:
        self.start = time.process_time()

    def end(self, engine: Engine) -> None:
        self.seconds.append(time.process_time() - self.start)
        self.losses.append(round(float(engine.state.output[0]["loss"]), 6))


def train(arguments: argparse.Namespace, folder: Path, cached: bool) -> tuple[list[float], list[float]]:
    """Processor seconds and last loss of each epoch."""
    clock = Clock()
    overrides = {
        **BOXLESS,
        "dataset_dir": str(folder / "data"),
        "shots": arguments.shots,
        "val": 0,
        "test": 0,
        "listed": None,
        "pool": arguments.shots,
        "mixed_phantoms": 0,
        "views": 2,
        "max_epochs": arguments.epochs,
        "precision": arguments.precision,
        "settings#sam#image_size": arguments.image_size,
        "settings#sam#weights": arguments.weights,
        "settings#arguments#dark_object_weight": 0.0,
        "embedding_cache#folder": str(folder / "cache"),
        "embedding_cache#enabled": cached,
    }
    run_training("isic_amsam_segmentation", root=folder / "run", overrides=overrides, handlers=[clock])
    return clock.seconds, clock.losses


if __name__ == "__main__":
    main()
