"""Training of a served bundle on the labels saved so far."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.transforms import Compose, EnsureTyped, RandAdjustContrastd

from amsam_monai import keys
from amsam_monai.bundles.load import load_bundle
from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.parts import network_of
from amsam_monai.data.embeddings.cache import EmbeddingCache
from amsam_monai.data.embeddings.dataset import FixedViews
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.few_shot import FewShotSettings, few_shot_trainer
from amsam_monai.handlers import ClipGradients
from amsam_monai.handlers.checkpoints import save_adapter
from amsam_monai.label_app.cases import VOLUME, LabelledCase, samples_of, split_cases
from amsam_monai.label_app.progress import TrainingProgress
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.system import System
from amsam_monai.networks.systems.training_wrappers import fixed_encoder
from amsam_monai.segment.propagation import overlap
from amsam_monai.transforms.windows import RandWindowd

logger = logging.getLogger(__name__)

MAX_SLICES = 256  # that train, and that are scored
GENTLE = 0.1  # share of the learning rate where trained weights are refined: a few labels know less than what is there
MAX_VIEWS = 8  # of a slice: as it is, and changed
MAX_ENCODED = 128  # views of all slices, where there are few enough slices for more than one view each


@dataclass(frozen=True)
class TrainOptions:
    """What a client may set.

    Args:
        max_epochs: of `steps_per_epoch` batches of 4 slices.
        steps_per_epoch: batches in an epoch.
        pretrained: go on from the bundle's weights; otherwise start anew.
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
    """Fine-tune a bundle on labelled cases with cached embeddings, keep the previous weights, and put the new in place.

    The image encoder stays as it is, also where it was trained once: prompter, classifier and decoder of AI-SAM learn,
    the generator of AutoSAM, prompt, decoder and calibration of AM-SAM.

    Args:
        root: the bundle's folder.
        cases: images with labels.
        options: see `TrainOptions`.
        cache: folder of embeddings.
        progress: told of every epoch, and of the Dice before and after.

    Returns:
        Numbers of cases and slices, Dice on the patients left out before and after, seconds, previous weights.

    Raises:
        ValueError: no case can be used.
    """
    start, options = time.perf_counter(), options or TrainOptions()
    bundle = load_bundle(root)
    network: System = bundle.network  # type: ignore[assignment]
    if not options.pretrained and bundle.settings is not None:
        network = network_of(root, bundle.settings).to(next(network.parameters()).device)
    torch.manual_seed(options.seed)
    training, validation = split_cases(cases, options.val_split, options.seed)
    samples = at_most(MAX_SLICES, [sample for case in training for sample in samples_of(bundle, case)])
    held_out = at_most(MAX_SLICES, [sample for case in validation for sample in samples_of(bundle, case)])
    if not samples:
        raise ValueError("no saved label fits the bundle's classes; label an image and save it first.")
    with fixed_encoder(network):
        embeddings = embedding_cache(network, cache)
        before = mean_dice(network, held_out, embeddings)
        if progress is not None:
            progress.begin(options.max_epochs, before)
        fit(network, samples, embeddings, options, progress)
        after = mean_dice(network, held_out, embeddings)
    previous = replace_weights(root, network)
    stats = {
        "cases": len(training),
        "slices": len(samples),
        "validation_cases": len(validation),
        "dice_before": before,
        "dice_after": after,
        "epochs": options.max_epochs,
        "seconds": round(time.perf_counter() - start, 1),
        "previous_weights": previous.name,
    }
    if progress is not None:
        progress.end(after, **stats)
    return stats


def at_most(count: int, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """No more than `count` samples, spread evenly."""
    places = np.linspace(0, len(samples) - 1, min(len(samples), count))
    return [samples[int(at)] for at in places]


def fit(
    network: System,
    samples: Sequence[dict[str, Any]],
    cache: EmbeddingCache,
    options: TrainOptions,
    progress: TrainingProgress | None = None,
) -> None:
    """Train a network whose encoder is fixed.

    Pictures are also seen flipped and turned. A body has a right and a left side: slices of volumes are tilted and
    magnified a little instead.
    """
    volumes = any(sample[VOLUME] for sample in samples)
    device = next(network.parameters()).device
    patients = len({sample[keys.PATIENT_ID] for sample in samples})
    settings = FewShotSettings(
        epochs=options.max_epochs,
        steps_per_epoch=options.steps_per_epoch,
        learning_rate=(5e-4 if isinstance(network, AISAM) else 1e-3) * (GENTLE if options.pretrained else 1),
        warmup=10 if isinstance(network, AISAM) else 0,
        views=max(1, min(MAX_VIEWS, MAX_ENCODED // len(samples))),
        box_iou=None if getattr(network, "detector", None) is None else 0.8,
        bilevel=hasattr(network, "upper_parameters") and patients > 1,
        seed=options.seed,
    )
    trainer = few_shot_trainer(
        network,
        samples,
        cache,
        settings,
        augment=FixedViews(tilted(network.image_size), seed=options.seed) if volumes else None,
        handlers=[ClipGradients(network)] if isinstance(network, AISAM) else [],
        device=device,
    )
    if progress is not None:
        trainer.add_event_handler(Events.EPOCH_COMPLETED, tell, progress)
    trainer.run()
    network.eval()


def tell(engine: Engine, progress: TrainingProgress) -> None:
    """Tell how far a trainer is."""
    output = engine.state.output
    loss = float((output[0] if isinstance(output, list) else output)["loss"])  # type: ignore[index, call-overload]
    progress.epoch(engine.state.epoch, engine.state.max_epochs or 0, loss)


def tilted(side: int) -> Compose:
    """A slice in its square of `side` pixels, turned and magnified a little, darker or brighter."""
    window = RandWindowd(size=side, window=side, degrees=10, scale=(0.9, 1.1), turn=0)
    contrast = RandAdjustContrastd(keys.IMAGE, prob=0.5, gamma=(0.7, 1.5))
    return Compose([window, contrast, EnsureTyped((keys.IMAGE, keys.LABEL), track_meta=False)])


@torch.no_grad()
def mean_dice(network: System, samples: Sequence[dict[str, Any]], cache: EmbeddingCache) -> float | None:
    """Mean Dice over samples and the classes in them, as the network segments by itself; None without samples."""
    device, scores = next(network.parameters()).device, []
    for sample in samples:
        image = sample[keys.IMAGE][None].to(device)
        embedding = cache.get_or_compute(sample[keys.IMAGE], network.encode, device=device)[None].to(image)
        predicted = network(image, embedding=embedding).argmax(1)[0].cpu().numpy()
        truth = sample[keys.LABEL][0].numpy()
        scores += [overlap(predicted == index, truth == index) for index in np.unique(truth) if index]
    return round(float(np.mean(scores)), 4) if scores else None


def replace_weights(root: Path, network: torch.nn.Module) -> Path:
    """Put a network's adapter in place of models/model.pt; what was there is kept under models/previous/."""
    weights = root / "models" / "model.pt"
    kept = weights.parent / "previous" / f"model-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}.pth"
    kept.parent.mkdir(exist_ok=True)
    shutil.copy2(weights, kept)
    save_adapter(network, weights, settings=read_model(weights).settings)
    return kept
