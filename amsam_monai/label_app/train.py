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
from amsam_monai.label_app.cases import LabelledCase, holds_class, patient_of, written_labels
from amsam_monai.label_app.progress import TrainingProgress
from amsam_monai.label_app.saved_labels import value_names
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
        self.progress = TrainingProgress(service.root / "models" / "training.json")

    def config(self) -> dict[str, Any]:
        """What a client may set."""
        return asdict(TrainOptions())

    def stats(self) -> dict[str, Any]:
        """How far a run is, or how the last one ended; it runs in another process."""
        return self.progress.read()

    @property
    def written_names(self) -> dict[int, str]:
        """Names by the value in the label maps that clients get."""
        root = self.service.root
        return {value: name for name, value in written_labels(root, class_names(root, read_metadata(root))).items()}

    def check(self, request: Mapping[str, Any], datastore: Datastore) -> None:
        """Refuse at once what could only fail.

        Raises:
            ValueError: options that are none, no label, or none that holds a class of the bundle.
        """
        TrainOptions.of_request(request)
        cases, root = labelled_cases(datastore, self.written_names), self.service.root
        if not cases:
            raise ValueError("no image has a final label yet; label one and save it first.")
        labels = class_names(root, read_metadata(root))
        if not any(holds_class(case, labels) for case in cases):
            raise ValueError(f"a saved label must hold one of {', '.join(labels.values())}, got none that does.")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train; the server serves the new weights from the next request on."""
        self.check(request, datastore)
        options = TrainOptions.of_request(request)
        cases, root = labelled_cases(datastore, self.written_names), self.service.root
        stats = train_bundle(root, cases, options, cache=self.cache, progress=self.progress)
        logger.info("trained %s: %s", root.name, stats)
        return stats


def labelled_cases(datastore: Datastore, written: Mapping[int, str]) -> list[LabelledCase]:
    """Images with a final label; what cannot be read is left out.

    Args:
        datastore: the studies.
        written: names of values, where the client gave none.
    """
    cases, tag = [], DefaultLabelTag.FINAL
    for image in sorted(datastore.get_labeled_images()):
        try:
            info = datastore.get_image_info(image)
            names = value_names(datastore.get_label_info(image, tag)) or written
            paths = Path(datastore.get_image_uri(image)), Path(datastore.get_label_uri(image, tag))
        except (ValueError, OSError) as error:
            logger.warning("%s is left out: %s", image, error)
            continue
        patient = str(info.get("patient_id") or patient_of(image))
        cases.append(LabelledCase(image, patient, *paths, names))
    return cases
