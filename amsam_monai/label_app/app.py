"""The MONAI Label app: every bundle twice, automatic and by clicks, with training and active learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from amsam_monai.bundles.load import class_names, read_metadata
from amsam_monai.bundles.overrides import said
from amsam_monai.data.classes import HIGHEST_VALUE
from amsam_monai.label_app.cases import written_labels
from amsam_monai.label_app.datastore import StudiesDatastore
from amsam_monai.label_app.dicomweb import DicomWebStore
from amsam_monai.label_app.dicomweb_server import DicomWebOptions
from amsam_monai.label_app.infer import BACKGROUND, AutomaticInfer, InteractiveInfer
from amsam_monai.label_app.saved_labels import HIGHEST
from amsam_monai.label_app.service import BundleService
from amsam_monai.label_app.strategies import LeastCertain, MostDiverse
from amsam_monai.label_app.train import FewShotTrain

CLICK = "_click"


class AmsamApp(MONAILabelApp):
    """Serves the bundles below `app_dir`/model; nothing is downloaded.

    Args:
        app_dir: as `prepare_app` made it.
        studies: folder of images.
        conf: `models`: names of bundles, comma-separated (all by default); `cache_mb`: memory for embeddings (512);
            `sessions`: images open at once (8); `device`; `flips`: "false" leaves mirror images out;
            what of a DICOMweb server is offered (`DicomWebOptions`).
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.services = services_of(Path(app_dir) / "model", conf or {})
        description = "Segment Anything adapted to medical images: automatic points and boxes, corrected by clicks"
        super().__init__(app_dir, studies, conf, name="amsam_monai", description=description)

    def init_infers(self) -> dict[str, InferTask]:
        """Two tasks for each bundle: its name, and its name with "_click"."""
        infers: dict[str, InferTask] = {}
        for name, service in self.services.items():
            metadata = read_metadata(service.root)
            labels = written_labels(service.root, class_names(service.root, metadata))
            about = str(metadata.get("description", name))
            dimension = dimension_of(metadata)
            infers[name] = AutomaticInfer(service, labels, dimension, about)
            infers[name + CLICK] = InteractiveInfer(service, labels, dimension, f"{about} Corrected by clicks.")
        return infers

    def init_trainers(self) -> dict[str, TrainTask]:
        """One for each bundle."""
        cache = Path(self.app_dir) / "embeddings"
        return {name: FewShotTrain(service, cache) for name, service in self.services.items()}

    def init_strategies(self) -> dict[str, Strategy]:
        """What "next sample" offers."""
        return {
            "least_certain": LeastCertain(self.services),
            "most_diverse": MostDiverse(self.services),
            "random": Random(),
            "first": First(),
        }

    def init_datastore(self) -> Datastore:
        """A local folder, or a DICOMweb server; XNAT and DSA as MONAI Label has them."""
        if self.studies.startswith(("http://", "https://")):
            if settings.MONAI_LABEL_DATASTORE.lower() in ("xnat", "dsa"):
                return super().init_datastore()
            options = DicomWebOptions.of_conf(self.conf)
            return DicomWebStore(self.studies, Path(self.app_dir) / "dicomweb", options, highest=self.highest_value)
        return StudiesDatastore(
            self.studies,
            Path(self.app_dir) / "dicom",
            highest=self.highest_value,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    @property
    def highest_value(self) -> int:
        """Of labels: 255, or that of 16 bits where a bundle's own values are higher."""
        roots = [service.root for service in self.services.values()]
        values = [
            value for root in roots for value in written_labels(root, class_names(root, read_metadata(root))).values()
        ]
        return HIGHEST_VALUE if max(values) > HIGHEST else HIGHEST

    def info(self) -> dict[str, Any]:
        """See MONAILabelApp; "background" comes last, since 3D Slicer numbers labels by their place.

        The training that runs, or ended last, comes first: viewers look at the first one alone.
        """
        info: dict[str, Any] = super().info()
        info["labels"] = sorted(info["labels"], key=lambda label: label == BACKGROUND)
        info["train_stats"] = dict(sorted(info["train_stats"].items(), key=lambda entry: running_first(entry[1])))
        return info

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Run a model on an image of the studies, by its id and nothing else, or on the `file` that a client sent.

        Args:
            request: the client's parameters, and `model`, `image`, `file`; with `save_label` the answer is kept.
            datastore: where ids are looked up; by default the app's.
        """
        task = self._infers.get(request.get("model"))
        if task is None:
            raise HTTPException(404, f"model must be one of {', '.join(self._infers)}, got {request.get('model')!r}.")
        store, image = datastore or self.datastore(), request.get("image")
        sent = request.get("file")
        path = sent or (store.get_image_uri(image) if isinstance(image, str) and image else "")
        file, params = task({**request, "image": path, "description": task.description})
        tag, label = str(request.get("label_tag") or DefaultLabelTag.ORIGINAL.value), file
        if request.get("save_label") and not sent:
            label = store.save_label(image, file, tag, {"model": request["model"], "params": params})
        return {"label": label, "tag": tag, "file": file, "params": params}

    def infer_wsi(self, request: dict[str, Any], datastore: Datastore | None = None) -> Any:
        """Refuse: no bundle is for whole slides."""
        raise HTTPException(404, "no bundle segments whole-slide images; ask /infer/MODEL.")

    def next_sample(self, request: dict[str, Any]) -> Any:
        """See MONAILabelApp; an unknown strategy is the client's mistake."""
        strategy = request.get("strategy") or "random"
        if strategy not in self._strategies:
            raise HTTPException(404, f"strategy must be one of {', '.join(self._strategies)}, got {strategy!r}.")
        return super().next_sample(request)


def services_of(folder: Path, conf: dict[str, str]) -> dict[str, BundleService]:
    """The bundles in a folder, by name.

    Raises:
        FileNotFoundError: a bundle that `models` names is not there, or there is none at all.
    """
    there = sorted(path.parents[1].name for path in folder.glob("*/configs/metadata.json"))
    wanted = [name.strip() for name in conf.get("models", "").split(",") if name.strip()] or there
    if missing := [name for name in wanted if name not in there] or ([] if wanted else ["any bundle"]):
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; there are: {', '.join(there) or 'none'}.")
    options: dict[str, Any] = {"device": conf.get("device") or None}
    if conf.get("cache_mb"):
        options["max_bytes"] = int(conf["cache_mb"]) * 2**20
    if said(conf.get("flips")) is False:
        options["flips"] = False
    if conf.get("sessions"):
        options["max_sessions"] = int(conf["sessions"])
    return {name: BundleService(folder / name, **options) for name in wanted}


def running_first(stats: dict[str, Any]) -> tuple[bool, bool, list[int]]:
    """Sorting key: trainings that run, then those that ended, the newest first, then those that never ran."""
    newest_first = [-ord(letter) for letter in str(stats.get("start_ts", ""))]
    return not stats, "total_time" in stats, newest_first


def dimension_of(metadata: dict[str, Any]) -> int:
    """3 for bundles whose data are volumes, 2 for pictures; the network is 2D in both cases.

    A bundle says so in `data_type` ("nifti", "dicom" ..., or "jpeg", "png" ...).
    """
    pictures = ("jpeg", "jpg", "png", "tif", "bmp", "picture")
    return 2 if any(word in str(metadata.get("data_type", "")).lower() for word in pictures) else 3
