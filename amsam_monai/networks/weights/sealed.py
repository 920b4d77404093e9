"""Files of tensors and plain values that carry a digest of both, so that damage is seen."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amsam_monai.networks.weights.finite import not_finite


def read_plain(path: Path, *, remedy: str) -> Any:
    """A file of tensors and plain values, on the CPU; whatever ails it, the message says what to do.

    Args:
        path: the file.
        remedy: what to do when it is missing or damaged, a sentence.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}. {remedy}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        damaged = _damaged_part(path)
    except Exception as error:  # torch.load raises all kinds on a broken file, and advises to load it unsafely
        kind = type(error).__name__
        raise ValueError(f"{path} is damaged or not a checkpoint of tensors ({kind}). {remedy}") from None
    if damaged:
        raise ValueError(f"{path} is damaged: {damaged} in it has another checksum than was written. {remedy}")
    return content


def _damaged_part(path: Path) -> str | None:
    """The first part whose checksum is wrong: torch writes one for each tensor, and reads past them."""
    if not zipfile.is_zipfile(path):  # as torch wrote before 1.6
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def sealed(tensors: Mapping[str, Tensor], block: Mapping[str, Any]) -> dict[str, Any]:
    """The block with the digest in block["made"]["digest"]."""
    made = {name: value for name, value in (block.get("made") or {}).items() if name != "digest"}
    return {**block, "made": {**made, "digest": digest_of(tensors, {**block, "made": made})}}


def check_seal(path: Path, tensors: Mapping[str, Tensor], block: Mapping[str, Any], *, remedy: str) -> None:
    """Refuse tensors or values that are not those that were written.

    Raises:
        ValueError: NaN or infinite values, or another digest than the file tells.
    """
    if bad := not_finite(tensors):
        raise ValueError(f"{path}: {bad}. {remedy}")
    made = block.get("made")
    told = made.get("digest") if isinstance(made, dict) else None
    try:
        found = digest_of(tensors, block)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:  # values that no writer wrote
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
