"""Bundles of before 0.2: their adapters and detectors get what present files say of themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from amsam_monai.bundles.fit import check_fit, filled, provenance
from amsam_monai.bundles.load import class_names, config_file, read_config, read_metadata
from amsam_monai.bundles.model_file import parse_model, write_model
from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.settings import Settings
from amsam_monai.networks.convert.detector import bring_over_detector, is_old_detector
from amsam_monai.networks.systems.system import System
from amsam_monai.networks.weights.sealed import read_plain

REMEDY = "Give a bundle whose models/model.pt is there."


def bring_over(root: Path) -> list[Path]:
    """Rewrite the model file and the detectors of a bundle in the present format, their weights byte for byte.

    The settings are those of configs/train.yaml; where it has no block of settings, the inference config builds the
    network and tells the rest. Such a config can run code: bring over bundles of people you trust.

    Args:
        root: the bundle.

    Returns:
        The files that were rewritten.

    Raises:
        FileNotFoundError: there is no models/model.pt, or no weights of SAM.
        ValueError: a damaged file, or an adapter that does not fit the network of the config.
    """
    path = root / "models" / "model.pt"
    content = read_plain(path, remedy=REMEDY)
    written = [file for file in sorted((root / "models").glob("*.pth")) if is_old_detector(file)]
    for file in written:
        bring_over_detector(file, file)
    if isinstance(content, dict) and "settings" in content:
        parse_model(path, content)
        return written
    adapter = content["model"] if isinstance(content, dict) and "model" in content else content
    network, settings = _from_settings(root) or _from_config(root)
    try:
        network.load_adapter_state_dict(adapter)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    settings = filled(network, settings)
    check_fit(network, settings, path=path)
    recipe = {"name": root.name, "version": read_metadata(root).get("version")}
    write_model(path, adapter, settings, made=provenance(network, recipe))
    return [*written, path]


def _from_settings(root: Path) -> tuple[System, Settings] | None:
    """Network and settings of a bundle whose training config has a block of settings."""
    try:
        block = read_config(config_file(root, "train")).get("settings")
    except FileNotFoundError:
        return None
    if block is None:
        return None
    settings = Settings.of(block)
    detector = None if settings.detector is None else root / "models" / settings.detector["file"]
    return build_network(settings, detector=detector), settings


def _from_config(root: Path) -> tuple[System, Settings]:
    """Network and settings of a bundle whose inference config builds the network."""
    file = config_file(root, "inference")
    parser = ConfigParser()
    parser.read_config(str(file))
    parser["bundle_root"] = str(root)
    if "network_def" not in parser:
        raise ValueError(
            f"{file}: must define 'network_def', the network without its adapter; got {sorted(parser.get())}."
        )
    network: Any = parser.get_parsed_content("network_def")
    labels = class_names(root, read_metadata(root))
    settings = replace(
        filled(network, None),
        classes={name: index for index, name in labels.items()},
        detector=_detector(root, network),
        **{
            name: parser.get_parsed_content(name)
            for name in ("intensity", "slices", "largest_component")
            if name in parser
        },
    )
    return network, Settings.of(settings.to_mapping())


def _detector(root: Path, network: Any) -> dict[str, Any] | None:
    """The file beside the model file that the network's detector came from."""
    from amsam_monai.networks.weights.store import digest

    if getattr(network, "detector", None) is None:
        return None
    for file in sorted((root / "models").glob("*.pth")):
        if digest(file) == network.detector.sha256:
            return {"file": file.name}
    raise ValueError(f"{root / 'models'}: must hold the detector of the network; put its file there.")
