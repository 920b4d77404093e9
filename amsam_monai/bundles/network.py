"""A network from settings alone: system names from a fixed table, or a class that the caller hands over."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from amsam_monai.bundles.fit import check_fit
from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.settings import Settings
from amsam_monai.networks.detector.files import load_detector
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.recorded import recorded
from amsam_monai.networks.sam import SAM, build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.autosam import AutoSAM, build_autosam
from amsam_monai.networks.systems.mean import Mean
from amsam_monai.networks.systems.system import System
from amsam_monai.networks.systems.unified import build_unified


def unified(sam: SAM, *, generator: Mapping[str, Any] | None = None, **arguments: Any) -> AISAM:
    """`build_unified` from plain values.

    Args:
        sam: Segment Anything's parts.
        generator: arguments of `PromptGenerator` but for the number of classes and the grid; None is no dense prompt.
        arguments: further ones of `build_unified`.
    """
    classes = arguments.get("num_classes", 1)
    made = None if generator is None else PromptGenerator(**{**generator, "num_classes": classes, "grid": sam.grid})
    return build_unified(sam, generator=made, **arguments)


@recorded
def mean(
    sam: SAM,
    *,
    members: Sequence[Mapping[str, Any]],
    num_classes: int = 1,
    resize: str = "pad",
    detector: nn.Module | None = None,
) -> Mean:
    """`Mean` from plain values.

    Args:
        sam: of the first member; those of the others have its backbone and weights.
        members: as the settings have them, see `Settings`.
        num_classes: K, foreground classes.
        resize: how images are fitted into each member's square.
        detector: of the members that take it.
    """
    built: list[System] = []
    for member in members:
        own, origin = sam, sam.origin
        if built and origin is not None:
            side = member.get("image_size") or origin.image_size
            own = build_sam(origin.backbone, weights=origin.weights, image_size=side, normalise=origin.normalise)
        more = {"detector": detector} if member.get("detector") else {}
        system = SYSTEMS[member["system"]]
        built.append(system(own, num_classes=num_classes, resize=resize, **member["arguments"], **more))
    return Mean(built)


SYSTEMS: dict[str, Callable[..., System]] = {
    "amsam": AMSAM,
    "aisam": AISAM,
    "autosam": build_autosam,
    "unified": unified,
    "mean": mean,
}
# Whose signatures say what a system takes: a builder first, then those to whom it hands on what it does not know.
SIGNATURES: dict[str, tuple[Callable[..., Any], ...]] = {
    "amsam": (AMSAM,),
    "aisam": (AISAM,),
    "autosam": (build_autosam, AutoSAM),
    "unified": (unified, build_unified, AISAM),
    "mean": (mean,),
}


def build_network(
    settings: Settings | Mapping[str, Any],
    *,
    detector: nn.Module | str | Path | None = None,
    system: Callable[..., System] | None = None,
) -> System:
    """The network that settings describe, with random values where training changes them.

    Args:
        settings: a bundle's, or a model file's.
        detector: the detector, or its file; only where the settings have one.
        system: a class (or function) of the caller's own in place of the table's, which takes
            (sam, *, num_classes, resize, **arguments) and, where the settings name a detector, `detector`.

    Raises:
        ValueError: an unknown system without a class for it, a detector that is missing, not wanted, or of other
            classes, or an argument that the system refuses.
        FileNotFoundError: weights of SAM or the file of the detector are not there.
    """
    settings = Settings.of(settings)
    build = system or SYSTEMS.get(settings.system)
    if build is None:
        raise ValueError(
            f"settings.system must be one of {', '.join(SYSTEMS)}, got {settings.system!r}; hand its class over "
            "(system=...), since a file's names are never imported."
        )
    arguments: dict[str, Any] = {"num_classes": settings.num_classes, "resize": settings.resize, **settings.arguments}
    if settings.detector is not None:
        arguments["detector"] = _detector(settings, detector)
    elif detector is not None:
        raise ValueError("a detector must stand in the settings (detector: FILE), got one beside settings without it.")
    try:
        return build(build_sam(**settings.sam), **arguments)
    except TypeError as error:
        raise ValueError(f"settings.arguments must be those of {settings.system}: {error}.") from error


@dataclass(frozen=True)
class LoadedModel:
    """A network as its model file describes it.

    Args:
        network: with its adapter, in evaluation mode.
        settings: of the file, with the overrides.
        made: what made the file, see `ModelFile`.
    """

    network: System
    settings: Settings
    made: dict[str, Any]


def load_model(
    path: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    device: torch.device | str | None = None,
    system: Callable[..., System] | None = None,
) -> LoadedModel:
    """The network of a model file, built from the file alone; its detector lies beside it.

    Args:
        path: say models/model.pt.
        settings: a part of a block of settings, which replaces the file's where training did not fix them.
        device: where the network goes.
        system: see `build_network`.

    Raises:
        FileNotFoundError: the file, its detector or SAM's weights are not there.
        ValueError: a damaged file, one without settings, an override of what training fixed, or other weights of SAM
            than the model was trained on.
    """
    file = read_model(path)
    wanted = file.settings.changed(settings)
    detector = None if wanted.detector is None else file.path.parent / str(wanted.detector["file"])
    network = build_network(wanted, detector=detector, system=system)
    check_fit(network, wanted, made=file.made, path=file.path)
    try:
        network.load_adapter_state_dict(file.adapter)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from error
    return LoadedModel((network if device is None else network.to(device)).eval(), wanted, file.made)


def usual_arguments_of(system: str) -> dict[str, Any]:
    """Defaults of all arguments that a system of the table takes; the builder's own come before those it hands on."""
    usual: dict[str, Any] = {}
    for function in reversed(SIGNATURES.get(system, ())):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                usual[name] = parameter.default
    return usual


def _detector(settings: Settings, detector: nn.Module | str | Path | None) -> nn.Module:
    """The detector that the settings name, with their options, for the settings' classes."""
    named = settings.detector or {}
    if detector is None:
        raise ValueError(
            f"settings name a detector ({named.get('file')}), got none; hand over the module, or the path of its file."
        )
    options = {name: value for name, value in named.items() if name not in ("file", "architecture")}
    if isinstance(detector, str | Path):
        detector = load_detector(detector, architecture=settings.detector_architecture, **options)
    else:
        for name, value in options.items():
            setattr(detector, name, value)
    found = getattr(detector, "num_classes", settings.num_classes)
    if found != settings.num_classes:
        raise ValueError(
            f"the detector must find {settings.num_classes} classes ({', '.join(settings.classes)}), it finds {found}."
        )
    return detector
