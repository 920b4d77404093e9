"""A model file that describes itself: the adapter, its settings, and what made it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amsam_monai import __version__
from amsam_monai.bundles.settings import Settings
from amsam_monai.data.files.atomic import whole_file

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
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in adapter.items()}
    if bad := not_finite(tensors):
        raise ValueError(f"{path} is not written: {bad}. The training diverged; lower its learning rate.")
    block = Settings.of(settings).to_mapping()
    block["made"] = {"package": f"amsam-monai {__version__}", **(made or {})}
    block["made"]["digest"] = digest_of(tensors, block)
    with whole_file(path) as partial:
        torch.save({"model": tensors, "settings": block}, partial)


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file, and make sure that it is as it was written.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged, holds NaN or infinite weights, no settings, or more than plain values.
    """
    return parse_model(Path(path), read_plain(Path(path), remedy=REMEDY))


def parse_model(path: Path, content: Any) -> ModelFile:
    """`read_model` of what the file holds."""
    adapter = content.get("model") if isinstance(content, dict) else None
    if not isinstance(adapter, dict) or not all(isinstance(value, Tensor) for value in adapter.values()):
        raise ValueError(f'{path} must hold {{"model": adapter, "settings": ...}}, got other content. {REMEDY}')
    block = content.get("settings")
    if not isinstance(block, dict):
        raise ValueError(
            f"{path} must hold the settings that its adapter was trained with, and has none: it was written by a "
            "version before they were kept. Bring it over by `amsam convert bundle BUNDLE`."
        )
    if not isinstance(made := block.get("made"), dict):
        raise ValueError(f"{path} must tell what made it, got {made!r}. {REMEDY}")
    check_digest(path, adapter, block, remedy=REMEDY)
    try:
        settings = Settings.of({name: value for name, value in block.items() if name != "made"})
    except ValueError as error:
        raise ValueError(f"{path}: {error} Update amsam-monai, or bring the file over by `amsam convert`.") from error
    return ModelFile(adapter, settings, made, path)


def read_plain(path: Path, *, remedy: str) -> Any:
    """A file of tensors and plain values, on the CPU; whatever ails it, the message says what to do.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}. {remedy}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises all kinds on a broken file, and advises to load it unsafely
        kind = type(error).__name__
        raise ValueError(f"{path} is damaged or not a checkpoint of tensors ({kind}). {remedy}") from None


def check_digest(path: Path, tensors: Mapping[str, Tensor], block: Mapping[str, Any], *, remedy: str) -> None:
    """Refuse tensors or settings that are not those that were written.

    Raises:
        ValueError: NaN or infinite values, or another digest than the file tells.
    """
    if bad := not_finite(tensors):
        raise ValueError(f"{path}: {bad}. {remedy}")
    told = block["made"].get("digest")
    try:
        found = digest_of(tensors, block)
    except (TypeError, ValueError, RuntimeError) as error:  # values that no writer wrote
        found = f"none ({error})"
    if found != told:
        raise ValueError(f"{path} is damaged: its content must have the digest {told}, got {found}. {remedy}")


def digest_of(tensors: Mapping[str, Tensor], block: Mapping[str, Any]) -> str:
    """sha256 over names, types, shapes and bytes of tensors, and over plain values but for the digest itself."""
    found = hashlib.sha256()
    made = {name: value for name, value in (block.get("made") or {}).items() if name != "digest"}
    found.update(json.dumps({**block, "made": made}, default=str, ensure_ascii=False).encode("utf-8", "replace"))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode("utf-8", "replace"))
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The first tensors with NaN or infinite values, in words; empty where there are none."""
    bad = [name for name, one in tensors.items() if one.is_floating_point() and not bool(one.isfinite().all())]
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return f"weights must be finite, got NaN or infinite values in {', '.join(bad[:3])}{more}" if bad else ""
