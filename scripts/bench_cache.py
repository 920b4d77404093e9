"""Seconds of an epoch with and without the embedding cache, and their ratio, on phantoms.

    python scripts/bench_cache.py --precision bfloat16

The two trainings differ in nothing else: without the cache the frozen encoder runs on every image of every batch. Both
losses are printed too; they are the same, for what is computed is rounded as what is kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch
from ignite.engine import Engine, Events

from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.few_shot import FewShotSettings, few_shot_trainer
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.phantoms.sets import lesion_phantoms
from amsam_monai.segment.autocast import PRECISIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--weights", default="mobile_sam")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    arguments = parser.parse_args()
    pairs = lesion_phantoms(arguments.shots)
    samples = [{"image": image, "label": label, "case_id": str(n)} for n, (image, label) in enumerate(pairs)]
    epochs: dict[bool, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for cached in (True, False):
            epochs[cached], losses = train(samples, arguments, folder, cached)
            shown = ", ".join(f"{seconds:.2f}" for seconds in epochs[cached])
            print(f"{'with' if cached else 'without'} cache: {shown} s of processor time an epoch; losses {losses}")
    print(f"ratio of the fastest epochs: {min(epochs[False]) / min(epochs[True]):.1f}")


def train(
    samples: list[dict], arguments: argparse.Namespace, folder: str, cached: bool
) -> tuple[list[float], list[float]]:
    """Processor seconds and last loss of each epoch."""
    torch.manual_seed(0)
    sam = build_sam("vit_t", image_size=arguments.image_size, weights=arguments.weights)
    network = AMSAM(sam)
    cache = embedding_cache(network, folder, enabled=cached)
    settings = FewShotSettings(epochs=arguments.epochs, views=2, bilevel=False, precision=arguments.precision)
    trainer = few_shot_trainer(network, samples, cache, settings)
    marks, losses = [time.process_time()], []

    @trainer.on(Events.EPOCH_STARTED)
    def begin(engine: Engine) -> None:
        marks[-1] = time.process_time()

    @trainer.on(Events.EPOCH_COMPLETED)
    def end(engine: Engine) -> None:
        marks[-1] = time.process_time() - marks[-1]
        marks.append(0.0)
        losses.append(round(float(engine.state.output[0]["loss"]), 6))

    trainer.run()
    return marks[:-1], losses


if __name__ == "__main__":
    main()
