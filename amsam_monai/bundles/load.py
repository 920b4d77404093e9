"""A bundle as the command line, the label app and the web page use it: network, label names, settings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from amsam_monai.bundles.find import find_bundle
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
        metadata: configs/metadata.json.
    """

    name: str
    root: Path
    network: nn.Module
    labels: dict[int, str]
    intensity: dict[str, Any] = field(default_factory=dict)
    slices: dict[str, Any] = field(default_factory=dict)
    largest_component: bool | list[str] = False
    metadata: dict[str, Any] = field(default_factory=dict)

    def segmenter(self, **changes: Any) -> Segmenter:
        """A segmenter with the bundle's settings; `changes` are arguments of `Segmenter` that replace them."""
        settings = {
            "intensity": self.intensity,
            "slices": self.slices,
            "largest_component": self.largest_component,
            **changes,
        }
        return Segmenter(self.network, self.labels, **settings)


def load_bundle(name: str | Path, *, device: torch.device | str | None = None, **overrides: Any) -> LoadedBundle:
    """Build a bundle's network with its adapter, from configs/inference.yaml (or .json) and metadata.json.

    The config's ids `network`, and where present `intensity`, `slices` and `largest_component` are read. A config can
    run code: load bundles from people you trust.

    Args:
        name: path or name, see `find_bundle`.
        device: replaces the config's `device`.
        overrides: further ids to replace, as on the command line of `monai.bundle run`.

    Raises:
        FileNotFoundError: no such bundle, or it has no inference config, no trained models/model.pt or no weights.
        ValueError: the metadata names no classes, the config lacks an id of `overrides`, or the adapter does not fit.
    """
    root = find_bundle(name)
    metadata = read_metadata(root)
    labels = class_names(root, metadata)
    if not (root / "models" / "model.pt").is_file():
        raise FileNotFoundError(
            f"{root / 'models' / 'model.pt'}: the bundle is not trained yet; train it with "
            f"`python -m monai.bundle run --config_file configs/train.yaml` in {root}, or fetch its weights."
        )
    parser = ConfigParser()
    parser.read_config(str(inference_config(root)))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    ids = dict(parser.get())
    parser["bundle_root"] = str(root)
    if device is not None:
        parser["device"] = torch.device(device)
    for key, value in overrides.items():
        if key not in parser:
            raise ValueError(f"{inference_config(root)}: must define {key!r} to have it replaced, got {sorted(ids)}.")
        parser[key] = value
    if "network" not in parser:
        raise ValueError(f"{inference_config(root)}: must define the id 'network', got {sorted(dict(parser.get()))}.")

    def parsed(key: str) -> Any:
        try:
            return parser.get_parsed_content(key)
        except RuntimeError as error:  # MONAI wraps what a component raised
            raise _first_cause(error) from error

    def setting(key: str, default: Any) -> Any:
        return parsed(key) if key in parser else default

    return LoadedBundle(
        name=root.name,
        root=root,
        network=parsed("network").eval(),
        labels=labels,
        intensity=dict(setting("intensity", {})),
        slices=dict(setting("slices", {})),
        largest_component=setting("largest_component", False),
        metadata=metadata,
    )


def _first_cause(error: BaseException) -> BaseException:
    """What set a chain of errors off."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def inference_config(root: Path) -> Path:
    """configs/inference.yaml or .json of a bundle."""
    for ending in ("yaml", "yml", "json"):
        if (path := root / "configs" / f"inference.{ending}").is_file():
            return path
    raise FileNotFoundError(f"{root / 'configs'}: must hold inference.yaml or inference.json; it is no bundle to run.")


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
