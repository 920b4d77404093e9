"""Whether a network is the one that settings describe, and the settings of a network that is there."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from amsam_monai.bundles.arguments import DEFAULTS, FIXED, is_default
from amsam_monai.bundles.plain_settings import usual_arguments
from amsam_monai.bundles.settings import Settings
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.weights.store import digest
from amsam_monai.networks.weights.store import path as weights_path

logger = logging.getLogger(__name__)

SYSTEM_OF = {
    "AMSAM": "amsam",
    "AISAM": "aisam",
    "AutoSAM": "autosam",
    "build_autosam": "autosam",
    "build_unified": "unified",
    "unified": "unified",
    "mean": "mean",
}


def is_recorded(network: Any) -> bool:
    """Whether a network tells what it was built with, and from which SAM."""
    return hasattr(network, "built_with") and getattr(getattr(network, "sam", None), "origin", None) is not None


def check_fit(
    network: Any,
    settings: Settings,
    *,
    made: Mapping[str, Any] | None = None,
    path: str | Path | None = None,
) -> None:
    """Refuse a network that is not built as `settings` say; what is a default there may differ, which is logged.

    So is a detector of another file than the adapter was trained with, since it may be fitted again on purpose. Only
    what a network records is compared: one without SAM is not at all.

    Args:
        network: without wrappers.
        settings: a bundle's, or a model file's.
        made: of the model file, see `ModelFile`.
        path: the model file, for the message.

    Raises:
        ValueError: architecture, size, framing or number of classes differ, all of them listed with both values.
    """
    where = "the settings" if path is None else str(path)
    refused = []
    for name, wanted, got in _compared(network, settings, made or {}):
        if _same(name, wanted, got):
            continue
        if name == "detector" or is_default(settings.system, name.removeprefix("arguments.")):
            logger.warning("%s: %s is %r in the network, %r when it was trained", where, name, got, wanted)
        else:
            refused.append(f"{name} must be {wanted!r}, got {got!r}")
    if refused:
        raise ValueError(
            f"{where}: the adapter does not fit this network: {'; '.join(refused)}. "
            "Build the network with the settings it was trained with, or from the file alone (amsam_monai.load)."
        )
    _tell_another_detector(network, made or {}, where)


def _tell_another_detector(network: Any, made: Mapping[str, Any], where: str) -> None:
    """Log that the detector's file is not the one of the adapter's training, where both digests are known."""
    wanted, detector = made.get("detector_sha256"), getattr(network, "detector", None)
    got = getattr(detector, "sha256", None)
    if None not in (wanted, got) and wanted != got:
        logger.warning(
            "%s was trained with another detector than %s (sha256 %s, got %s). Train the bundle again where the "
            "detector was fitted anew on purpose, else put the detector back that came with the model.",
            where,
            getattr(detector, "file", None) or "the network's",
            wanted,
            got,
        )


def filled(network: Any, settings: Settings | Mapping[str, Any] | None) -> Settings:
    """The settings with every argument said, so that a later version's defaults do not change them.

    Args:
        network: recorded, see `is_recorded`.
        settings: the bundle's; None makes them of the network alone, whose classes are then called class 1, 2, ...
    """
    constructor, origin = network.built_with.constructor, network.sam.origin
    system = str(SYSTEM_OF.get(constructor, constructor))
    if settings is None:
        classes = {f"class {index}": index for index in range(1, network.num_classes + 1)}
        sam = {"backbone": origin.backbone, "weights": origin.weights, "image_size": origin.image_size}
        settings = Settings(system, sam, classes, resize=str(network.resize), arguments=_recorded(network, system))
        if getattr(network, "detector", None) is not None:
            settings = replace(settings, detector={"file": "detector.pth"})
    else:
        settings = Settings.of(settings)
    names = FIXED.get(settings.system, frozenset()) | DEFAULTS.get(settings.system, frozenset())
    usual = {name: value for name, value in usual_arguments(settings.system).items() if name in names}
    sam = {"weights": None, **settings.sam, "normalise": origin.normalise}
    return replace(settings, sam=sam, arguments={**usual, **settings.arguments})


def provenance(network: Any, recipe: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What made a network, for `write_model`: recipe, pretrained SAM and detector with their sha256."""
    origin = network.sam.origin
    made: dict[str, Any] = {"sam": {"name": origin.weights, "sha256": origin.sha256}}
    if getattr(network, "detector", None) is not None:
        made["detector_sha256"] = getattr(network.detector, "sha256", None)
    if recipe:
        made["recipe"] = dict(recipe)
    return made


def _compared(network: Any, settings: Settings, made: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """All that both sides tell: name, the settings' value, the network's."""
    pairs: list[tuple[str, Any, Any]] = []
    built = getattr(network, "built_with", None)
    if built is not None and built.constructor in SYSTEM_OF and settings.system in FIXED:
        pairs.append(("system", settings.system, SYSTEM_OF[built.constructor]))
        if pairs[0][1] != pairs[0][2]:
            return pairs
    for name, wanted in (("num_classes", settings.num_classes), ("resize", settings.resize)):
        if hasattr(network, name):
            pairs.append((name, wanted, getattr(network, name)))
    if hasattr(network, "detector") and (settings.detector is None) != (network.detector is None):
        told = "one" if settings.detector is None else None
        pairs.append(("detector", (settings.detector or {}).get("file"), told))
    sam: Any = getattr(network, "sam", None)
    if hasattr(sam, "image_size"):
        pairs.append(("sam.image_size", settings.image_size, sam.image_size))
    if (origin := getattr(sam, "origin", None)) is not None:
        pairs.append(("sam.backbone", settings.sam["backbone"], origin.backbone))
        pairs += _weights(settings, origin, (made.get("sam") or {}).get("sha256"))
        if settings.sam.get("normalise") is not None:
            pairs.append(("sam.normalise", settings.sam["normalise"], origin.normalise))
    if built is not None:
        usual = usual_arguments(settings.system)
        wanted_all, got_all = {**usual, **settings.arguments}, {**usual, **_recorded(network, settings.system)}
        names = known if (known := FIXED.get(settings.system)) is not None else frozenset(settings.arguments)
        names |= DEFAULTS.get(settings.system, frozenset())
        names &= wanted_all.keys() & got_all.keys()
        pairs += [(f"arguments.{name}", wanted_all[name], got_all[name]) for name in sorted(names)]
    return pairs


def _weights(settings: Settings, origin: Any, sha256: str | None) -> list[tuple[str, Any, Any]]:
    """The pretrained SAM, by its sha256 where both sides tell it, else by name."""
    wanted = settings.sam.get("weights")
    if sha256 is None or origin.file is None:
        return [("sam.weights", wanted, origin.weights)]
    if sha256 == origin.sha256:
        return []
    return [("sam.weights", f"{wanted} (sha256 {sha256})", f"{origin.weights} (sha256 {origin.sha256})")]


def _recorded(network: Any, system: str) -> dict[str, Any]:
    """Arguments of a network as settings have them: AutoSAM's generator stands among its own."""
    arguments = dict(network.built_with.arguments)
    if system == "autosam" and "generator" in arguments:
        generator = arguments.pop("generator")
        arguments |= {name: generator[name] for name in ("backbone", "domains", "tuned")}
        arguments["backbone_weights"] = generator["weights"]
    names = FIXED.get(system, arguments.keys()) | DEFAULTS.get(system, frozenset())
    return {name: value for name, value in arguments.items() if name in names}


def _same(name: str, wanted: Any, got: Any) -> bool:
    if wanted == got:
        return True
    if name == "arguments.generator" and isinstance(wanted, dict) and isinstance(got, dict):
        usual = {one.name: one.default for one in inspect.signature(PromptGenerator).parameters.values()}
        own = [key for key in usual if key not in ("num_classes", "grid")]
        return all({**usual, **wanted}[key] == {**usual, **got}[key] for key in own)
    if name == "arguments.backbone_weights" and wanted and got:
        return digest(weights_path(wanted)) == digest(weights_path(got))
    return False
