"""Training of a served bundle on the labels saved so far: the bundle's own, on those cases."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amsam_monai import keys
from amsam_monai.bundles.load import LoadedBundle, load_bundle
from amsam_monai.bundles.run import run_training
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.handlers import load_adapter
from amsam_monai.label_app.cases import LabelledCase, samples_of, split_cases, training_entry
from amsam_monai.label_app.progress import TrainingProgress
from amsam_monai.networks.systems.system import System
from amsam_monai.networks.systems.training_wrappers import fixed_encoder
from amsam_monai.segment.propagation import overlap

logger = logging.getLogger(__name__)

MAX_SLICES = 256  # that are scored
REFINE = ("train", "refine")  # configs that go on from the weights that are served
ANEW = ("train",)
SERVED = "the new weights are served"
KEPT = "no better on held-out cases: the weights stay as they were"


@dataclass(frozen=True)
class TrainOptions:
    """What a client may set.

    Args:
        max_epochs: of `steps_per_epoch` batches of 4 slices.
        steps_per_epoch: batches in an epoch.
        pretrained: go on from the bundle's weights, with the encoder as it is (the bundle's refine.yaml); otherwise
            train anew, as the bundle was trained.
        val_split: share of patients that are only scored; 0 for none. Two patients at least train.
        seed: of everything random.
    """

    max_epochs: int = 20
    steps_per_epoch: int = 10
    pretrained: bool = True
    val_split: float = 0.2
    seed: int = 0

    @classmethod
    def of_request(cls, request: Mapping[str, Any]) -> TrainOptions:
        """Options from a client's request; what it does not say is as above.

        Raises:
            ValueError: a value that is none.
        """
        values = {**asdict(cls()), **{name: value for name, value in request.items() if value is not None}}
        try:
            options = cls(
                int(values["max_epochs"]),
                int(values["steps_per_epoch"]),
                str(values["pretrained"]).lower() not in ("false", "0", "no"),
                float(values["val_split"]),
                int(values["seed"]),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"max_epochs, steps_per_epoch, val_split and seed must be numbers ({error}).") from error
        if options.max_epochs < 1 or options.steps_per_epoch < 1:
            raise ValueError(
                f"max_epochs and steps_per_epoch must be at least 1, got {options.max_epochs}, "
                f"{options.steps_per_epoch}."
            )
        if not 0 <= options.val_split < 1:
            raise ValueError(f"val_split must lie in [0, 1), got {options.val_split}.")
        return options


def train_bundle(
    root: Path,
    cases: Sequence[LabelledCase],
    options: TrainOptions | None = None,
    *,
    cache: Path | None = None,
    progress: TrainingProgress | None = None,
) -> dict[str, Any]:
    """Train a bundle by its own configs on labelled cases, and serve the new weights where they are better.

    Held-out patients judge both; without any, the new weights are served. The previous ones are kept. A detector stays
    as it is.

    Args:
        root: the bundle's folder.
        cases: images with labels.
        options: see `TrainOptions`.
        cache: folder of embeddings.
        progress: told of every epoch, and of the Dice before and after.

    Returns:
        Numbers of cases, Dice on the patients left out before and after, seconds, whether the new weights are served,
        and the file of the previous ones.

    Raises:
        FileNotFoundError: the bundle has no config to be trained by.
        ValueError: no case can be used.
    """
    start, options = time.perf_counter(), options or TrainOptions()
    bundle = load_bundle(root)
    training, validation = split_cases(cases, options.val_split, options.seed)
    held_out = at_most(MAX_SLICES, [sample for case in validation for sample in samples_of(bundle, case)])
    with tempfile.TemporaryDirectory(prefix="amsam-train-") as name:
        work = Path(name)
        entries = [training_entry(bundle, case, work / "labels") for case in training]
        listed = [entry for entry in entries if entry is not None]
        if not listed:
            raise ValueError("no saved label fits the bundle's classes; label an image and save it first.")
        shutil.copytree(root / "models", work / "models", ignore=shutil.ignore_patterns("previous"))
        before = held_out_dice(bundle, held_out, cache)
        if progress is not None:
            progress.begin(options.max_epochs, before)
        result = run_training(
            root,
            configs=REFINE if options.pretrained else ANEW,
            datalist={"train": listed, "val": [], "test": []},
            root=work,
            overrides=_overrides(bundle, options, cache),
            progress=None if progress is None else progress.epoch,
        )
        load_adapter(bundle.network, result.weights)
        after = held_out_dice(bundle, held_out, cache)
        served = before is None or after is None or after > before
        previous = replace_weights(root, result.weights) if served else None
    if not served:
        logger.warning("%s: Dice %s after training, %s before; the weights stay as they were", root.name, after, before)
    stats = {
        "cases": len(listed),
        "validation_cases": len(validation),
        "dice_before": before,
        "dice_after": after,
        "served": served,
        "message": SERVED if served else KEPT,
        "epochs": options.max_epochs,
        "seconds": round(time.perf_counter() - start, 1),
        "previous_weights": None if previous is None else previous.name,
    }
    if progress is not None:
        progress.end(after, **stats)
    return stats


def _overrides(bundle: LoadedBundle, options: TrainOptions, cache: Path | None) -> dict[str, Any]:
    overrides: dict[str, Any] = {"max_epochs": options.max_epochs, "seed": options.seed}
    if bundle.settings is not None and bundle.settings.detector is not None:
        overrides["detector"] = None  # none is fitted, the one of the file stays
    if options.pretrained:
        overrides["steps_per_epoch"] = options.steps_per_epoch
        if cache is not None:
            overrides["embedding_cache#folder"] = str(cache)
    return overrides


def at_most(count: int, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """No more than `count` samples, spread evenly."""
    places = np.linspace(0, len(samples) - 1, min(len(samples), count))
    return [samples[int(at)] for at in places]


@torch.no_grad()
def held_out_dice(bundle: LoadedBundle, samples: Sequence[dict[str, Any]], cache: Path | None) -> float | None:
    """Mean Dice over samples and the classes in them, as the network segments by itself; None without samples."""
    if not samples:
        return None
    network: System = bundle.network  # type: ignore[assignment]
    device, scores = next(network.parameters()).device, []
    with fixed_encoder(network):
        embeddings = embedding_cache(network, cache)
    for sample in samples:
        image = sample[keys.IMAGE][None].to(device)
        embedding = embeddings.get_or_compute(sample[keys.IMAGE], network.encode, device=device)[None].to(image)
        predicted = network(image, embedding=embedding).argmax(1)[0].cpu().numpy()
        truth = sample[keys.LABEL][0].numpy()
        scores += [overlap(predicted == index, truth == index) for index in np.unique(truth) if index]
    return round(float(np.mean(scores)), 4) if scores else None


def replace_weights(root: Path, trained: Path) -> Path:
    """Put a model file in place of models/model.pt; what was there is kept under models/previous/."""
    weights = root / "models" / "model.pt"
    kept = weights.parent / "previous" / f"model-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}.pth"
    kept.parent.mkdir(exist_ok=True)
    shutil.copy2(weights, kept)
    with whole_file(weights) as part:
        shutil.copyfile(trained, part)
    return kept
