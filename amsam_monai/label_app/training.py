"""Training of a served bundle on the labels saved so far: the bundle's own, on those cases."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from amsam_monai.bundles.knobs import most_epochs
from amsam_monai.bundles.load import LoadedBundle, load_bundle
from amsam_monai.bundles.refining import REFINE, detector_stays
from amsam_monai.bundles.run import loss_of, run_training
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.claim import claim, release
from amsam_monai.data.files.scratch import scratch
from amsam_monai.handlers import load_adapter
from amsam_monai.label_app.cases import LabelledCase, samples_of, split_cases, training_entry
from amsam_monai.label_app.held_out import HeldOut
from amsam_monai.label_app.progress import TrainingProgress
from amsam_monai.label_app.temporary import TRAINING

logger = logging.getLogger(__name__)

ANEW = ("train",)
CLAIM = ".training.lock"
NUMBERS = ("max_epochs", "steps_per_epoch", "val_split", "seed", "val_interval")
SERVED = "the new weights are served"
GONE = "the server that started the training is gone; the weights stay as they were"
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
        val_interval: epochs between two looks at the patients who are scored, which `train_stats` tells.
    """

    max_epochs: int = 20
    steps_per_epoch: int = 10
    pretrained: bool = True
    val_split: float = 0.2
    seed: int = 0
    val_interval: int = 5

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
                int(values["val_interval"]),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{', '.join(NUMBERS)} must be numbers ({error}).") from error
        most = most_epochs()
        for name in ("max_epochs", "steps_per_epoch", "val_interval"):
            if not 1 <= getattr(options, name) <= most:
                raise ValueError(f"{name} must lie in 1..{most}, got {values[name]}.")
        if not 0 <= options.seed < 2**32:
            raise ValueError(f"seed must lie in 0..{2**32 - 1}, got {options.seed}.")
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
        progress: told of every epoch, of the Dice before, meanwhile and after, and of what made the training fail.

    Returns:
        Numbers of cases, Dice on the patients left out before and after, seconds, whether the new weights are served,
        and the file of the previous ones.

    Raises:
        FileNotFoundError: the bundle has no config to be trained by.
        ValueError: no case can be used, or the training diverged; the weights stay as they were.
        OSError: another process trains this bundle, such as one that a killed server left.
    """
    mine = claim(root / "models" / CLAIM, "another training")
    try:
        return _train(root, cases, options or TrainOptions(), cache, progress)
    except Exception as error:
        if progress is not None:
            progress.end(error=GONE if isinstance(error, BrokenPipeError) else str(error))
        raise
    finally:
        release(mine)


def _train(
    root: Path,
    cases: Sequence[LabelledCase],
    options: TrainOptions,
    cache: Path | None,
    progress: TrainingProgress | None,
) -> dict[str, Any]:
    start = time.perf_counter()
    bundle = load_bundle(root)
    training, validation = split_cases(cases, options.val_split, options.seed)
    samples = [sample for case in validation for sample in samples_of(bundle, case)]
    held_out = HeldOut(samples, cache, encoder_stays=options.pretrained)
    with scratch(TRAINING) as work:
        entries = [training_entry(bundle, case, work / "labels") for case in training]
        listed = [entry for entry in entries if entry is not None]
        if not listed:
            raise ValueError("no saved label fits the bundle's classes; label an image and save it first.")
        shutil.copytree(root / "models", work / "models", ignore=shutil.ignore_patterns("previous", CLAIM))
        before = held_out.dice(bundle.network)
        if progress is not None:
            progress.begin(options.max_epochs, before)
        result = run_training(
            root,
            configs=REFINE if options.pretrained else ANEW,
            datalist={"train": listed, "val": [], "test": []},
            root=work,
            overrides=_overrides(bundle, options, cache),
            handlers=[] if progress is None else [_Teller(progress, held_out, options.val_interval)],
        )
        load_adapter(bundle.network, result.weights)
        after = held_out.dice(bundle.network)
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


class _Teller:
    """Tells how far a training is after each epoch, with the Dice on cases left out where it is due.

    The last epoch is judged by the file that it leaves, not here.
    """

    def __init__(self, progress: TrainingProgress, held_out: HeldOut, interval: int) -> None:
        self.progress, self.held_out, self.interval = progress, held_out, interval

    def __call__(self, engine: Engine) -> None:
        epoch, epochs = engine.state.epoch, engine.state.max_epochs or 0
        due = epoch % self.interval == 0 and epoch < epochs
        score = self.held_out.dice(engine.network) if due else None  # type: ignore[attr-defined]
        self.progress.epoch(epoch, epochs, loss_of(engine), score)


def _overrides(bundle: LoadedBundle, options: TrainOptions, cache: Path | None) -> dict[str, Any]:
    overrides: dict[str, Any] = {
        "max_epochs": options.max_epochs,
        "seed": options.seed,
        **detector_stays(bundle.settings),
    }
    if options.pretrained:
        overrides["steps_per_epoch"] = options.steps_per_epoch
        if cache is not None:
            overrides["embedding_cache#folder"] = str(cache)
    return overrides


def replace_weights(root: Path, trained: Path) -> Path:
    """Put a model file in place of models/model.pt; what was there is kept under models/previous/."""
    weights = root / "models" / "model.pt"
    kept = weights.parent / "previous" / f"model-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}.pth"
    kept.parent.mkdir(exist_ok=True)
    shutil.copy2(weights, kept)
    with whole_file(weights) as part:
        shutil.copyfile(trained, part)
    return kept
