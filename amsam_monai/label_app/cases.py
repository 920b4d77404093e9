"""Labelled cases of the studies: whose they are, and their slices as samples to train on."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amsam_monai import keys
from amsam_monai.bundles.load import LoadedBundle, config_settings
from amsam_monai.bundles.model_file import read_model
from amsam_monai.data.classes import Classes
from amsam_monai.data.files.images import check_same_geometry, read_image, read_label
from amsam_monai.data.files.loaded_image import LoadedImage
from amsam_monai.data.files.writers import label_suffix, write_label
from amsam_monai.session.image import SessionImage
from amsam_monai.transforms.intensity import Intensity

logger = logging.getLogger(__name__)

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


def holds_class(case: LabelledCase, labels: Mapping[int, str]) -> bool:
    """Whether a person's label can be read and has a voxel of a class."""
    try:
        label = read_label(case.label).array
    except (ValueError, OSError):
        return False
    return bool(as_classes(label, case.names, labels).any())


def samples_of(bundle: LoadedBundle, case: LabelledCase) -> list[dict[str, Any]]:
    """The labelled slices of a case as the network sees them; none, with a warning, where it cannot be used."""
    if (read := _read(bundle, case)) is None:
        return []
    source, classes = read
    image = SessionImage(source, Intensity(**bundle.intensity), bundle.slices)
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


def training_entry(bundle: LoadedBundle, case: LabelledCase, folder: Path) -> dict[str, Any] | None:
    """A case as an entry of the bundle's datalist; None, with a warning, where it cannot be used.

    Its label is written into `folder`, in the values that the bundle's training reads.
    """
    if (read := _read(bundle, case)) is None:
        return None
    source, classes = read
    written = Classes.of(bundle.labels, values=bundle.trained_values).written(classes)
    folder.mkdir(parents=True, exist_ok=True)
    label = write_label(folder / f"{case.case_id}{label_suffix(source)}", written, source)
    return {
        keys.IMAGE: str(case.image),
        keys.LABEL: str(label),
        "label_rule": "table",
        keys.CASE_ID: case.case_id,
        keys.PATIENT_ID: case.patient_id,
    }


def _read(bundle: LoadedBundle, case: LabelledCase) -> tuple[LoadedImage, np.ndarray] | None:
    """The image, and the label in class indices."""
    try:
        source, label = read_image(case.image), read_label(case.label)
        label.array = label.array.reshape(source.spatial_shape)
        check_same_geometry(source, label)
    except (ValueError, OSError) as error:
        logger.warning("%s is left out: %s", case.case_id, error)
        return None
    classes = as_classes(label.array, case.names, bundle.labels)
    if label.array.any() and not classes.any():
        values = np.unique(label.array).tolist()
        logger.warning(
            "%s is left out: its label must hold %s, got the values %s", case.case_id, dict(bundle.labels), values[:8]
        )
        return None
    return source, classes


def written_labels(root: Path, names: dict[int, str]) -> dict[str, int]:
    """Name of each class -> its value in the label maps that clients get."""
    weights = root / "models" / "model.pt"
    values = None
    if weights.is_file():
        values = read_model(weights).settings.changed(config_settings(root)).result_values
    return {name: (values or {}).get(index, index) for index, name in names.items()}


def as_classes(label: np.ndarray, names: Mapping[int, str] | None, labels: Mapping[int, str]) -> np.ndarray:
    """A client's label values as class indices, by name; values of unknown names are background."""
    indices = {name.casefold(): index for index, name in labels.items()}
    wanted = names or labels
    classes = np.zeros(label.shape, dtype=np.uint8)
    for value, name in wanted.items():
        if name.casefold() in indices:
            classes[label == value] = indices[name.casefold()]
    return classes
