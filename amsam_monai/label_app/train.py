"""`POST /train`: MONAI Label's training task of a bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.train import TrainTask

from amsam_monai.bundles.load import class_names, read_metadata
from amsam_monai.label_app.cases import LabelledCase, holds_class, patient_of
from amsam_monai.label_app.service import BundleService
from amsam_monai.label_app.training import TrainOptions, train_bundle

logger = logging.getLogger(__name__)


class FewShotTrain(TrainTask):
    """Fine-tune a bundle on the final labels saved so far.

    Args:
        service: the bundle.
        cache: folder of embeddings.
    """

    def __init__(self, service: BundleService, cache: Path) -> None:
        super().__init__(f"Train {service.root.name} on the labels saved so far")
        self.service, self.cache = service, cache
        self._stats: dict[str, Any] = {}

    def config(self) -> dict[str, Any]:
        """What a client may set."""
        return asdict(TrainOptions())

    def stats(self) -> dict[str, Any]:
        """Of the last run."""
        return self._stats

    def check(self, request: Mapping[str, Any], datastore: Datastore) -> None:
        """Refuse at once what could only fail.

        Raises:
            ValueError: options that are none, no label, or none that holds a class of the bundle.
        """
        TrainOptions.of_request(request)
        cases, root = labelled_cases(datastore), self.service.root
        if not cases:
            raise ValueError("no image has a final label yet; label one and save it first.")
        labels = class_names(root, read_metadata(root))
        if not any(holds_class(case, labels) for case in cases):
            raise ValueError(f"a saved label must hold one of {', '.join(labels.values())}, got none that does.")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train; the server serves the new weights from the next request on."""
        self.check(request, datastore)
        options = TrainOptions.of_request(request)
        self._stats = train_bundle(self.service.root, labelled_cases(datastore), options, cache=self.cache)
        logger.info("trained %s: %s", self.service.root.name, self._stats)
        return self._stats


def labelled_cases(datastore: Datastore) -> list[LabelledCase]:
    """Images with a final label, with the names that the client gave its values."""
    cases = []
    for image in sorted(datastore.get_labeled_images()):
        tag = DefaultLabelTag.FINAL
        info = datastore.get_image_info(image)
        names = names_of(datastore.get_label_info(image, tag))
        patient = str(info.get("patient_id") or patient_of(image))
        paths = Path(datastore.get_image_uri(image)), Path(datastore.get_label_uri(image, tag))
        cases.append(LabelledCase(image, patient, *paths, names))
    return cases


def names_of(info: dict[str, Any]) -> dict[int, str] | None:
    """Value -> name from what 3D Slicer and OHIF save with a label (`label_info`), or None."""
    listed = info.get("label_info") or info.get("params", {}).get("label_names")
    if isinstance(listed, dict):
        return {int(index): str(name) for name, index in listed.items()}
    if not isinstance(listed, list):
        return None
    return {int(entry.get("idx", at)): str(entry["name"]) for at, entry in enumerate(listed, 1) if "name" in entry}
