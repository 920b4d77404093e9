"""Training of a served bundle on the labels saved so far."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amsam_monai import keys
from amsam_monai.data.files import check_same_geometry, read_image, read_label
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.few_shot import FewShotSettings, few_shot_trainer
from amsam_monai.handlers import adapter_state, save_atomically
from amsam_monai.inferers.bundle import LoadedBundle, load_bundle
from amsam_monai.inferers.propagation import overlap
from amsam_monai.inferers.session_image import SessionImage
from amsam_monai.transforms.intensity import Intensity

logger = logging.getLogger(__name__)

MAX_SLICES = 256
# "patient001_frame01" and "case3-ES" are one patient's: what numbers an acquisition comes after the patient's name
ACQUISITION = re.compile(r"[_-](frame|phase|time|t|scan|visit|slice|series|ed|es|ct|mr)[_-]?\d*$", re.IGNORECASE)


@dataclass(frozen=True)
class LabelledCase:
    """An image with a person's label.

    Args:
        case_id: the image's id.
        patient_id: cases of one patient stay together when training and validation are split.
        image: its file.
        label: the label's file.
        names: name of each value in the label, where the client told; class indices otherwise.
    """

    case_id: str
    patient_id: str
    image: Path
    label: Path
    names: Mapping[int, str] | None = None


def patient_of(case_id: str) -> str:
    """The patient's part of an image's id."""
    previous = ""
    while previous != case_id:
        previous, case_id = case_id, ACQUISITION.sub("", case_id)
    return case_id


def train_bundle(
    root: Path,
    cases: Sequence[LabelledCase],
    *,
    epochs: int = 20,
    steps_per_epoch: int = 10,
    pretrained: bool = True,
    val_split: float = 0.2,
    seed: int = 0,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Fine-tune a bundle on labelled cases with cached embeddings, keep the previous weights, and put the new in place.

    Args:
        root: the bundle's folder.
        cases: images with labels.
        epochs: of `steps_per_epoch` batches of 4 slices.
        steps_per_epoch: batches in an epoch.
        pretrained: go on from the bundle's weights; otherwise start anew.
        val_split: share of patients that are only scored; 0 for none. Two patients at least train.
        seed: of everything random.
        cache: folder of embeddings.

    Returns:
        Numbers of cases and slices, Dice on the patients left out before and after, seconds, previous weights.

    Raises:
        ValueError: no case can be used, or the bundle's encoder trains, which takes its own train.yaml.
    """
    start = time.perf_counter()
    bundle = load_bundle(root, **({} if pretrained else {"network": "$@network_def"}))
    network = bundle.network
    if not network.encoder_is_frozen:  # type: ignore[operator]
        raise ValueError(f"{root.name}: its image encoder trains; run its configs/train.yaml, which does that.")
    torch.manual_seed(seed)
    training, validation = split_cases(cases, val_split, seed)
    samples = [sample for case in training for sample in samples_of(bundle, case)]
    held_out = [sample for case in validation for sample in samples_of(bundle, case)]
    samples = [samples[int(at)] for at in np.linspace(0, len(samples) - 1, min(len(samples), MAX_SLICES))]
    if not samples:
        raise ValueError("no saved label fits the bundle's classes; label an image and save it first.")
    before = mean_dice(bundle, held_out)
    patients = len({case.patient_id for case in training})
    settings = FewShotSettings(
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        box_iou=None if getattr(network, "detector", None) is None else 0.8,
        bilevel=hasattr(network, "upper_parameters") and patients > 1,
        seed=seed,
    )
    embeddings = embedding_cache(network, cache)
    device = next(network.parameters()).device
    few_shot_trainer(network, samples, embeddings, settings, device=device).run()  # type: ignore[arg-type]
    network.eval()
    after = mean_dice(bundle, held_out)
    previous = replace_weights(root, network)
    return {
        "cases": len(training),
        "slices": len(samples),
        "validation_cases": len(validation),
        "dice_before": before,
        "dice_after": after,
        "epochs": epochs,
        "seconds": round(time.perf_counter() - start, 1),
        "previous_weights": previous.name,
    }


def split_cases(
    cases: Sequence[LabelledCase], share: float, seed: int
) -> tuple[list[LabelledCase], list[LabelledCase]]:
    """Cases to train on and to score, no patient in both; two patients at least train."""
    patients = sorted({case.patient_id for case in cases})
    count = min(round(share * len(patients)) or (1 if share > 0 else 0), max(len(patients) - 2, 0))
    order = np.random.default_rng(seed).permutation(len(patients))
    held_out = {patients[index] for index in order[:count]}
    training = [case for case in cases if case.patient_id not in held_out]
    return training, [case for case in cases if case.patient_id in held_out]


def samples_of(bundle: LoadedBundle, case: LabelledCase) -> list[dict[str, Any]]:
    """The labelled slices of a case as the network sees them; none, with a warning, where it cannot be used."""
    try:
        source, label = read_image(case.image), read_label(case.label)
        label.array = label.array.reshape(source.spatial_shape)
        check_same_geometry(source, label)
        image = SessionImage(source, Intensity(**bundle.intensity), bundle.slices)
    except (ValueError, OSError) as error:
        logger.warning("%s is left out: %s", case.case_id, error)
        return []
    classes = as_classes(label.array, case.names, bundle.labels)
    if label.array.any() and not classes.any():
        values = np.unique(label.array).tolist()
        logger.warning(
            "%s is left out: its label must hold %s, got the values %s", case.case_id, dict(bundle.labels), values[:8]
        )
        return []
    found = []
    for number in range(image.depth):
        plane = image.plane(classes, number)
        if plane.any() or image.depth == 1:
            sample = {
                keys.IMAGE: image.pixels(number)[0].contiguous(),
                keys.LABEL: torch.from_numpy(plane.astype(np.int64))[None],
                keys.CASE_ID: f"{case.case_id}:{number}",
                keys.PATIENT_ID: case.patient_id,
            }
            found.append(sample)
    return found


def as_classes(label: np.ndarray, names: Mapping[int, str] | None, labels: Mapping[int, str]) -> np.ndarray:
    """A client's label values as class indices, by name; values of unknown names are background."""
    indices = {name.casefold(): index for index, name in labels.items()}
    wanted = names or labels
    classes = np.zeros(label.shape, dtype=np.uint8)
    for value, name in wanted.items():
        if name.casefold() in indices:
            classes[label == value] = indices[name.casefold()]
    return classes


@torch.no_grad()
def mean_dice(bundle: LoadedBundle, samples: Sequence[dict[str, Any]]) -> float | None:
    """Mean Dice over samples and the classes in them, as the network segments by itself; None without samples."""
    scores = []
    for sample in samples:
        image = sample[keys.IMAGE][None].to(next(bundle.network.parameters()).device)
        predicted = bundle.network(image).argmax(1)[0].cpu().numpy()
        truth = sample[keys.LABEL][0].numpy()
        scores += [overlap(predicted == index, truth == index) for index in np.unique(truth) if index]
    return round(float(np.mean(scores)), 4) if scores else None


def replace_weights(root: Path, network: torch.nn.Module) -> Path:
    """Put a network's adapter in place of models/model.pt; what was there is kept under models/previous/."""
    weights = root / "models" / "model.pt"
    kept = weights.parent / "previous" / f"model-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}.pth"
    kept.parent.mkdir(exist_ok=True)
    shutil.copy2(weights, kept)
    save_atomically({"model": adapter_state(network)}, weights)
    return kept
