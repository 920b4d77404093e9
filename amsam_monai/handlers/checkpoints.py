"""Adapter files: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amsam_monai.bundles.fit import check_fit, filled, is_recorded, provenance
from amsam_monai.bundles.model_file import parse_model, write_model
from amsam_monai.bundles.settings import Settings
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.networks.systems.training_wrappers import unwrap
from amsam_monai.networks.weights.finite import not_finite
from amsam_monai.networks.weights.sealed import read_plain


def adapter_state(network: nn.Module, *, half: bool = False) -> dict[str, Tensor]:
    """What training changed, on the CPU; the whole state of a network that has no adapter (a plain U-Net).

    Args:
        network: a system, or any module.
        half: store floating-point tensors as float16.
    """
    inner = unwrap(network)
    state = inner.adapter_state_dict() if hasattr(inner, "adapter_state_dict") else inner.state_dict()
    state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
    return {name: _halved(tensor) if half else tensor for name, tensor in state.items()}


def _halved(tensor: Tensor) -> Tensor:
    """As float16, but for integers and for values that float16 cannot hold."""
    if not tensor.is_floating_point():
        return tensor
    return half if (half := tensor.half()).isfinite().all() else tensor


def save_adapter(
    network: nn.Module,
    path: str | os.PathLike[str],
    *,
    half: bool = False,
    settings: Settings | Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> None:
    """Write the model file of a network, see `write_model`; of one that records nothing, {"model": state} alone.

    Args:
        network: a system, or any module.
        path: the file, say models/model.pt; written atomically.
        half: store floating-point tensors as float16.
        settings: the bundle's; None keeps what the network was built with.
        recipe: {name, version} of the recipe that the bundle was built from.

    Raises:
        ValueError: settings of another network, or weights that are NaN or infinite.
    """
    inner, state = unwrap(network), adapter_state(network, half=half)
    if not is_recorded(inner):
        if bad := not_finite(state):
            raise ValueError(f"{path} is not written: {bad}. The training diverged; lower its learning rate.")
        save_atomically({"model": state}, path)
        return
    if settings is not None:
        check_fit(inner, Settings.of(settings))
    write_model(path, state, filled(inner, settings), made=provenance(inner, recipe))


def load_adapter_state(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load what `adapter_state` gave.

    Raises:
        ValueError: keys are missing, unknown, or of another shape.
    """
    inner = unwrap(network)
    if hasattr(inner, "load_adapter_state_dict"):
        inner.load_adapter_state_dict(state)
        return
    try:
        inner.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the checkpoint does not fit this network: {error}") from error


def save_atomically(content: Any, path: str | os.PathLike[str]) -> None:
    """Write `content` with torch.save so that `path` holds the old file or the whole new one, never a part."""
    with whole_file(path) as partial:
        torch.save(content, partial)


def read_checkpoint(path: str | os.PathLike[str], *, remedy: str) -> Any:
    """Read a file of tensors and plain values onto the CPU.

    Args:
        path: the file.
        remedy: what to do when it is missing or damaged, a sentence.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds more than tensors and plain values.
    """
    return read_plain(Path(path), remedy=remedy)


def load_adapter(network: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """The network with the adapter of `path` in it; in a config, `$amsam_monai.handlers.load_adapter(@net, @path)`.

    Args:
        network: a system, or a plain network, whose files have no settings.
        path: a file of AdapterSaver.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds no adapter, or was trained with other settings than the network's.
    """
    remedy = "Train the bundle first, or put the trained model.pt there."
    content = read_checkpoint(path, remedy=remedy)
    if isinstance(content, dict) and "settings" in content:
        file = parse_model(Path(path), content)
        check_fit(unwrap(network), file.settings, made=file.made, path=file.path)
    elif is_recorded(unwrap(network)):
        parse_model(Path(path), content)  # says how to bring the file over
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f'{path} must hold {{"model": adapter}}, got other content. {remedy}')
    if bad := not_finite(state):
        raise ValueError(f"{path}: {bad}. {remedy}")
    try:
        load_adapter_state(network, state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return network
