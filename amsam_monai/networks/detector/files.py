"""Files of detectors of all architectures: written whole and sealed, read and checked."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amsam_monai.installed import remedy
from amsam_monai.networks.detector.box_head import BoxHead, known_head
from amsam_monai.networks.detector.detector import BoxDetector
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.networks.detector.licence import write_licence
from amsam_monai.networks.detector.voting import VotingDetector
from amsam_monai.networks.detector.yolo import build_model
from amsam_monai.networks.weights.finite import not_finite
from amsam_monai.networks.weights.sealed import check_seal, read_plain, sealed
from amsam_monai.networks.weights.store import digest
from amsam_monai.version import __version__

FORMAT, OLD_FORMAT = "amsam_monai.detector/2", "amsam_monai.detector/1"
FIXED_OPTIONS = ("class_names", "classes", "image_size", "resize", "encoder", "cases")  # training chose them
REMEDY = "Copy it again from where it came, or train one with `amsam train-detector`."

logger = logging.getLogger(__name__)


def _yolo(architecture: Mapping[str, Any], num_classes: int) -> nn.Module:
    return build_model(architecture, num_classes, dense=False)


def _head(architecture: Mapping[str, Any], num_classes: int) -> BoxHead:
    return BoxHead(num_classes, **known_head(architecture))


# What settings call `detector.architecture`: the detector, and what builds its network.
ARCHITECTURES: dict[str, tuple[Callable[..., VotingDetector], Callable[[Mapping[str, Any], int], nn.Module]]] = {
    "yolo": (BoxDetector, _yolo),
    "embedding": (EmbeddingDetector, _head),
}


def save_detector(detector: VotingDetector, path: str | Path) -> None:
    """Write a detector as a plain state dict (fp16) with its configuration and a digest of both.

    Raises:
        ValueError: a name that ends in .pt, which MONAI Label would take for the segmentation network; weights that
            are NaN or infinite.
    """
    path = Path(path)
    if path.suffix == ".pt":
        raise ValueError(f"a detector's file must not end in .pt, got {path.name}; name it {path.stem}.pth.")
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in detector.model.state_dict().items()
    }
    write_detector(path, detector.config(), state)
    detector.file, detector.sha256 = path, digest(path)


def write_detector(path: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write the parts of a detector's file, whole or not at all, and YOLO's licence beside one that derives from it.

    Raises:
        ValueError: weights that are NaN or infinite.
    """
    state = {name: value.detach().cpu().clone() for name, value in state.items()}
    if bad := not_finite(state):
        raise ValueError(f"{path} is not written: {bad}. The training diverged; lower its learning rate.")
    block = {"format": FORMAT, "config": dict(config), "made": {"package": f"amsam-monai {__version__}"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    if architecture_of(config) == "yolo":
        write_licence(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # not a temporary file, which only its owner reads
    try:
        torch.save({**sealed(state, block), "state_dict": state}, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_detector(path: str | Path, **overrides: Any) -> VotingDetector:
    """The detector of a file that `save_detector` wrote.

    Args:
        path: the file.
        overrides: options of the detector that training did not fix, such as `confidence`; a change is logged.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, a damaged one, or an override of what training fixed.
        ImportError: it is a YOLO, and ultralytics is not installed.
    """
    path = Path(path)
    config, state = _read(path)
    name, architecture = architecture_of(config), config.pop("architecture")
    kind, build = _known_architecture(path, name, overrides.pop("architecture", None))
    if unknown := sorted(set(overrides) - set(inspect.signature(kind).parameters)):
        raise ValueError(f"{path}: {', '.join(unknown)} must be options of {kind.__name__}, which has none such.")
    for name, value in overrides.items():
        if name in FIXED_OPTIONS and value != config.get(name):
            raise ValueError(
                f"{path}: {name} must be {config.get(name)!r}, as the detector was trained, got {value!r}."
            )
        if value != config.get(name):
            logger.info("%s: %s is %r, where the file has %r", path, name, value, config.get(name))
    model = build({key: value for key, value in architecture.items() if key != "name"}, len(config["class_names"]))
    model.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    detector = kind(model, **{**config, **overrides})
    detector.file, detector.sha256 = path, digest(path)
    return detector


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a detector's file, and that it is as it was written."""
    if not path.is_file():
        raise FileNotFoundError(f"detector must be a file, got {path}. Train one with `amsam train-detector`.")
    again = remedy(path, REMEDY)
    content = read_plain(path, remedy=again)
    told = content.get("format") if isinstance(content, dict) else None
    if told == OLD_FORMAT:
        raise ValueError(
            f"{path} was written by a version before detectors kept a digest; bring it over by "
            f"`amsam convert detector {path} {path} --overwrite`."
        )
    if told != FORMAT:
        raise ValueError(f"{path} must have format {FORMAT}, got {told!r}; update amsam-monai, or: {again}")
    state = content.pop("state_dict", {})
    check_seal(path, state, content, remedy=again)
    return dict(content["config"]), state


def misfit(path: Path, architecture: str, system: Any = None) -> str | None:
    """What a detector's file was made for, where that is not the wanted architecture, or not the system's embedding.

    Args:
        path: the file.
        architecture: a name of ARCHITECTURES.
        system: with `image_size` and `resize` and, where its embedding was told, `sam`; None compares no embedding.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a detector's file, or a damaged one.
    """
    config, _ = _read(path)
    name = architecture_of(config)
    if name != architecture:
        return f"the architecture {name}"
    if name == "embedding" and system is not None:
        sha256 = getattr(getattr(getattr(system, "sam", None), "origin", None), "sha256", None)
        told = (config["image_size"], config["resize"], config["encoder"] or sha256)
        if told != (system.image_size, system.resize, sha256 or config["encoder"]):
            return f"embeddings of another encoder ({config['image_size']} px, {config['resize']})"
    return None


def architecture_of(config: Mapping[str, Any]) -> str:
    """The name in `ARCHITECTURES` that a detector's configuration stands for; those of before tell none."""
    return str((config.get("architecture") or {}).get("name", "yolo"))


def _known_architecture(path: Path, name: str, wanted: str | None) -> tuple[Any, Any]:
    """What builds the detector of a file, which must be the wanted one where one is told."""
    if name not in ARCHITECTURES:
        raise ValueError(f"{path}: architecture must be one of {', '.join(ARCHITECTURES)}, got {name!r}. {REMEDY}")
    if wanted not in (None, name):
        raise ValueError(f"{path}: architecture must be {name!r}, as the detector was trained, got {wanted!r}.")
    return ARCHITECTURES[name]
