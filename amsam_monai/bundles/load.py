"""A bundle as the command line, the label app and the web page use it: network, label names, settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from amsam_monai.bundles.find import find_bundle
from amsam_monai.bundles.network import LoadedModel, load_model
from amsam_monai.bundles.settings import Settings, merged
from amsam_monai.networks.systems.system import System
from amsam_monai.segment.segmenter import Segmenter


@dataclass
class LoadedBundle:
    """A network with its adapter, and what its bundle says of it.

    Args:
        name: the folder's name.
        root: the folder.
        network: the system, in evaluation mode, on its device.
        labels: name of every class index above 0.
        intensity: arguments of `Intensity`.
        slices: arguments of `SliceInferer`.
        largest_component: argument of `Segmenter`.
        label_values: argument of `Segmenter`.
        limits: argument of `Segmenter`.
        quality: argument of `Segmenter`.
        metadata: configs/metadata.json.
        settings: all of these in one; None where the network did not come from a model file.
        made: what made the model file, see `ModelFile`.
    """

    name: str
    root: Path
    network: nn.Module
    labels: dict[int, str]
    intensity: dict[str, Any] = field(default_factory=dict)
    slices: dict[str, Any] = field(default_factory=dict)
    largest_component: bool | list[str] = False
    label_values: dict[int, int] | None = None
    limits: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    settings: Settings | None = None
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def trained_values(self) -> dict[int, int]:
        """Class index -> value in the label files that the bundle trains on."""
        own = {} if self.settings is None else dict(self.settings.classes)
        return {index: int(own.get(name, index)) for index, name in self.labels.items()}

    def segmenter(self, **changes: Any) -> Segmenter:
        """A segmenter with the bundle's settings; `changes` are arguments of `Segmenter` that replace them."""
        settings = {
            "intensity": self.intensity,
            "slices": self.slices,
            "largest_component": self.largest_component,
            "label_values": self.label_values,
            "limits": self.limits,
            "quality": self.quality,
            **changes,
        }
        return Segmenter(self.network, self.labels, **settings)


def load_bundle(
    name: str | Path,
    *,
    device: torch.device | str | None = None,
    settings: Mapping[str, Any] | None = None,
    system: Callable[..., System] | None = None,
) -> LoadedBundle:
    """A bundle's network with its adapter, built as models/model.pt says.

    The plain block `settings` of configs/inference.yaml (or .json) replaces what the file says, as it does in
    `monai.bundle run`; nothing else of the config is read, and no code in it is run.

    Args:
        name: path or name, see `find_bundle`.
        device: where the network goes; the processor, or the first GPU where there is one, if None.
        settings: a part of a block of settings, which replaces the bundle's where training did not fix them.
        system: class of a system that is not the package's, see `build_network`.

    Raises:
        FileNotFoundError: no such bundle, or it has no inference config, no trained models/model.pt or no weights.
        ValueError: a damaged model file, an override of what training fixed, or metadata of other classes.
    """
    root = find_bundle(name)
    metadata = read_metadata(root)
    labels = class_names(root, metadata)
    path = root / "models" / "model.pt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the bundle is not trained yet; train it with "
            f"`python -m monai.bundle run --config_file configs/train.yaml` in {root}, or fetch its weights."
        )
    model = load_model(
        path,
        settings=merged(config_settings(root), settings or {}),
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        system=system,
    )
    if labels != model.settings.labels:
        raise ValueError(
            f"{root / 'configs' / 'metadata.json'}: channel_def must name the model's classes {model.settings.labels}, "
            f"got {labels}."
        )
    return of_model(root, model, metadata)


def of_model(root: Path, model: LoadedModel, metadata: dict[str, Any] | None = None) -> LoadedBundle:
    """A loaded model as a bundle; without metadata where there is its file alone."""
    return LoadedBundle(
        name=root.name,
        root=root,
        network=model.network,
        labels=model.settings.labels,
        intensity=model.settings.intensity,
        slices=model.settings.slices,
        largest_component=model.settings.largest_component,
        label_values=model.settings.result_values,
        limits=model.settings.limits,
        quality=model.settings.quality,
        metadata=metadata or {},
        settings=model.settings,
        made=model.made,
    )


def config_settings(root: Path) -> dict[str, Any]:
    """The block `settings` of a bundle's inference config: what replaces the model file's, plain values.

    Raises:
        ValueError: a value that only running the config would give, or a setting that stands outside the block.
    """
    path = inference_config(root)
    config = read_config(path)
    block: dict[str, Any] = config.get("settings") or {}
    if apart := [key for key in config if str(key).replace("::", "#").startswith("settings#")]:
        raise ValueError(f"{path}: settings must stand in one block, got {apart[0]!r}; put it into `settings`.")
    if found := _first_expression(block):
        raise ValueError(f"{path}: settings must be plain values, got {found!r}.")
    return block


def read_config(path: Path) -> dict[str, Any]:
    """A YAML or JSON file of a bundle, as it stands there."""
    text = path.read_text(encoding="utf-8")
    return dict(json.loads(text) if path.suffix == ".json" else yaml.safe_load(text))


def _first_expression(value: Any) -> str | None:
    """The first string that MONAI would evaluate or look up."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, str):
        return value if value.startswith(("$", "@", "%")) else None
    return next((found for part in parts if (found := _first_expression(part))), None)


def inference_config(root: Path) -> Path:
    """configs/inference.yaml or .json of a bundle, see `config_file`."""
    return config_file(root, "inference")


def config_file(root: Path, name: str) -> Path:
    """A configuration of a bundle, whichever ending it has.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are two that differ, of which MONAI and MONAI Label might read different ones.
    """
    there = [path for ending in ("yaml", "yml", "json") if (path := root / "configs" / f"{name}.{ending}").is_file()]
    if not there:
        raise FileNotFoundError(f"{root / 'configs'}: must hold {name}.yaml or {name}.json; it is no bundle to run.")
    for twin in there[1:]:
        if (first := read_config(there[0])) != (second := read_config(twin)):
            names = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
            raise ValueError(
                f"{there[0]} and {twin.name} must say the same, they differ in {', '.join(names[:5])}; remove one, or "
                "build the bundle again."
            )
    return there[0]


def read_metadata(root: Path) -> dict[str, Any]:
    """configs/metadata.json of a bundle."""
    metadata: dict[str, Any] = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return metadata


def class_names(root: Path, metadata: dict[str, Any]) -> dict[int, str]:
    """Names of classes above 0, from the first output's channel_def."""
    outputs: dict[str, Any] = metadata.get("network_data_format", {}).get("outputs", {})
    first: dict[str, Any] = next(iter(outputs.values()), {})
    channels = first.get("channel_def", {})
    names = {int(index): str(name) for index, name in channels.items() if int(index) > 0}
    if not names:
        raise ValueError(
            f"{root / 'configs' / 'metadata.json'}: outputs must name classes in channel_def, got {channels}."
        )
    return names
