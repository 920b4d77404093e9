"""What a bundle's configs make of its settings: the network, its scale of intensities, its inferer, its results."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform
from torch import nn

from amsam_monai.bundles.load import config_file, read_config
from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.settings import Settings, merged
from amsam_monai.data.files.save import SaveLabeld
from amsam_monai.handlers import load_adapter
from amsam_monai.keys import PRED
from amsam_monai.networks.detector.files import load_detector, misfit
from amsam_monai.networks.detector.no_detector import NoDetector
from amsam_monai.networks.systems.system import System
from amsam_monai.segment.components import keep_largest_components
from amsam_monai.segment.scaling import ScaleImaged
from amsam_monai.segment.slice_inferer import SliceInferer


def bundle_settings(root: str | Path, settings: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a bundle: those of models/model.pt; of one that is not trained yet, those of configs/train.yaml.

    Args:
        root: the bundle.
        settings: replace the bundle's; what training fixed is refused, see `Settings.changed`.
    """
    model = Path(root) / "models" / "model.pt"
    if model.is_file():
        return read_model(model).settings.changed(settings)
    block = read_config(config_file(Path(root), "train"))["settings"]
    return Settings.of(merged(block, settings or {}))


def network_of(root: str | Path, settings: Settings | Mapping[str, Any], models: str | Path | None = None) -> System:
    """The network that the settings describe, untrained, with its detector where such a one is fitted already.

    Random numbers that follow do not depend on whether the detector was there.

    Args:
        root: the bundle.
        settings: the bundle's.
        models: folder of the detector; the bundle's models/ by default.
    """
    settings = Settings.of(settings)
    detector: nn.Module | None = None
    if settings.detector is not None:
        file = Path(models or Path(root) / "models") / settings.detector["file"]
        with torch.random.fork_rng():
            whole = None if settings.system == "mean" else settings  # a member has a square of its own
            fitted = file.is_file() and misfit(file, settings.detector_architecture, whole) is None
            detector = load_detector(file) if fitted else NoDetector(settings.num_classes)
    return build_network(settings, detector=detector)


def trained(network: nn.Module, root: str | Path) -> nn.Module:
    """The network with the bundle's adapter.

    Raises:
        FileNotFoundError: the bundle is not trained yet, or its detector is not there.
        ValueError: the file is damaged, or of another network.
    """
    model = Path(root) / "models" / "model.pt"
    if not model.is_file():
        raise FileNotFoundError(
            f"{model}: the bundle is not trained yet; train it with "
            f"`python -m monai.bundle run --config_file configs/train.yaml` in {root}, or fetch its weights."
        )
    if isinstance(getattr(network, "detector", None), NoDetector):
        raise FileNotFoundError(
            f"{model.parent} must hold the detector that {model.name} was trained with, got none; put its file there, "
            "or train the bundle again."
        )
    return load_adapter(network, model).eval()


def scale(settings: Settings | Mapping[str, Any]) -> ScaleImaged:
    """The transform that brings stored values to [0, 1]."""
    settings = Settings.of(settings)
    return ScaleImaged(settings.intensity, settings.slices)


def slice_inferer(settings: Settings | Mapping[str, Any]) -> SliceInferer:
    """The inferer of images and volumes, mirror images included."""
    return SliceInferer(**Settings.of(settings).slices)


class SaveResultd(Transform):
    """Write a prediction as `amsam segment` writes it: under its image's name, with the same voxels.

    Args:
        folder: where to write.
        settings: the bundle's; classes, largest_component and label_values are read.
        root: folder that the images come from, see `SaveLabeld`.

    Shape: pred (1, H, W) or (1, I, J, K), class indices.
    """

    def __init__(
        self, folder: str | Path, settings: Settings | Mapping[str, Any], root: str | Path | None = None
    ) -> None:
        self.classes = Settings.of(settings).result_classes
        self.save = SaveLabeld(folder, root=root, classes=self.classes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample, with the file written."""
        label = torch.as_tensor(data[PRED])[0].cpu().to(torch.uint8).numpy().copy()
        keep_largest_components(label, self.classes.largest)
        self.save({**data, PRED: torch.from_numpy(label)[None]})
        return dict(data)
