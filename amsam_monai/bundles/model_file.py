"""A model file that describes itself: the adapter, its settings, and what made it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amsam_monai.bundles.measured import MEASURED
from amsam_monai.bundles.settings import Settings
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.installed import remedy
from amsam_monai.networks.weights.finite import not_finite
from amsam_monai.networks.weights.sealed import check_seal, read_plain, sealed
from amsam_monai.version import __version__

REMEDY = "Copy it again from where it came, or train the bundle anew."


@dataclass(frozen=True)
class ModelFile:
    """What `read_model` found.

    Args:
        adapter: what training changed, by name.
        settings: what it was trained with.
        made: package, recipe {name, version}, sam {name, sha256}, detector_sha256 and digest, where known.
        path: the file.
    """

    adapter: dict[str, Tensor]
    settings: Settings
    made: dict[str, Any] = field(default_factory=dict)
    path: Path = Path("model.pt")


def write_model(
    path: str | os.PathLike[str],
    adapter: Mapping[str, Tensor],
    settings: Settings | Mapping[str, Any],
    *,
    made: Mapping[str, Any] | None = None,
) -> None:
    """Write {"model": adapter, "settings": {..., "made": {...}}}, whole or not at all.

    Args:
        path: the file, say models/model.pt.
        adapter: of a network that `settings` describe.
        settings: the bundle's.
        made: recipe, sam and detector_sha256, see `ModelFile`; package and digest are added.

    Raises:
        ValueError: a weight is NaN or infinite, or the settings are not complete.
    """
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in adapter.items()}
    if bad := not_finite(tensors):
        raise ValueError(f"{path} is not written: {bad}. The training diverged; lower its learning rate.")
    block = Settings.of(settings).to_mapping()
    block["made"] = {"package": f"amsam-monai {__version__}", **(made or {})}
    with whole_file(path) as partial:
        torch.save({"model": tensors, "settings": sealed(tensors, block)}, partial)


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file, and make sure that it is as it was written.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged, holds NaN or infinite weights, no settings, or more than plain values.
    """
    return parse_model(Path(path), read_plain(Path(path), remedy=remedy(path, REMEDY)))


def parse_model(path: Path, content: Any) -> ModelFile:
    """`read_model` of what the file holds."""
    again = remedy(path, REMEDY)
    adapter = content.get("model") if isinstance(content, dict) else None
    if not isinstance(adapter, dict) or not all(isinstance(value, Tensor) for value in adapter.values()):
        raise ValueError(f'{path} must hold {{"model": adapter, "settings": ...}}, got other content. {again}')
    block = content.get("settings")
    if not isinstance(block, dict):
        raise ValueError(
            f"{path} must hold the settings that its adapter was trained with, and has none: it was written by a "
            "version before they were kept. Bring it over with its bundle by `amsam convert bundle BUNDLE`."
        )
    if not isinstance(made := block.get("made"), dict):
        raise ValueError(f"{path} must tell what made it, got {made!r}. {again}")
    check_seal(path, adapter, block, remedy=again)
    try:
        settings = Settings.of({name: value for name, value in block.items() if name != "made"})
    except ValueError as error:
        raise ValueError(f"{path}: {error} Update amsam-monai, or bring the file over by `amsam convert`.") from error
    return ModelFile(adapter, settings, made, path)


def amend_model(path: str | os.PathLike[str], **measured: Mapping[str, Any] | None) -> ModelFile:
    """Put what was measured after the training into a model file; weights, other settings and origin stay.

    Args:
        path: the file, which is replaced whole or not at all.
        measured: settings among MEASURED, in place of those that the file has.

    Raises:
        FileNotFoundError, ValueError: as `read_model`.
        ValueError: a setting that is not measured, or a block of another form.
    """
    if unknown := [name for name in measured if name not in MEASURED]:
        raise ValueError(f"settings that are measured must be among {', '.join(MEASURED)}, got {unknown}.")
    file = read_model(path)
    blocks: dict[str, Any] = {name: None if block is None else dict(block) for name, block in measured.items()}
    write_model(path, file.adapter, replace(file.settings, **blocks), made=file.made)
    return read_model(path)
