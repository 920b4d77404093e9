"""Adapter files: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.networks.systems.training_wrappers import OnWindows


def unwrap(network: nn.Module) -> Any:
    """The network inside the wrappers of several devices and of cheaper training, or the network itself."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel, OnWindows)
    return unwrap(network.module) if isinstance(network, wrappers) else network


def adapter_state(network: nn.Module, *, half: bool = False) -> dict[str, Tensor]:
    """What training changed, on the CPU; the whole state of a network that has no adapter (a plain U-Net).

    Args:
        network: a system, or any module.
        half: store floating-point tensors as float16.
    """
    inner = unwrap(network)
    state = inner.adapter_state_dict() if hasattr(inner, "adapter_state_dict") else inner.state_dict()
    state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
    return {name: tensor.half() if half and tensor.is_floating_point() else tensor for name, tensor in state.items()}


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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}. {remedy}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is damaged or not a checkpoint of tensors ({reason}). {remedy}") from error


def load_adapter(network: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """The network with the adapter of `path` in it; in a config, `$amsam_monai.handlers.load_adapter(@net, @path)`.

    Args:
        network: a system built with the settings the adapter was trained with, or a plain network.
        path: a file of AdapterSaver: {"model": adapter}, or the adapter alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds no adapter, or does not fit the network.
    """
    remedy = "Train the bundle first, or put the trained model.pt there."
    content = read_checkpoint(path, remedy=remedy)
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f'{path} must hold {{"model": adapter}}, got other content. {remedy}')
    try:
        load_adapter_state(network, state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return network
