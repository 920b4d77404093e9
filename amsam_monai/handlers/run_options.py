"""What a run computes with, as plain values that `TrainState` compares before it continues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, str, type(None))


def loss_options(loss: Any) -> dict[str, Any]:
    """Class, plain values and buffers of a loss and of its parts: its weights, wherever they were configured.

    Args:
        loss: a module, or any callable, of which only the name is kept.
    """
    if not isinstance(loss, nn.Module):
        return {"class": getattr(loss, "__qualname__", type(loss).__qualname__)}
    options: dict[str, Any] = {"class": type(loss).__qualname__}
    told = {**vars(loss), **dict(loss.named_buffers(recurse=False))}
    options |= {name: _values(value) for name, value in told.items() if name != "training" and _is_plain(name, value)}
    return options | {name: loss_options(part) for name, part in loss.named_children()}


def optimizer_options(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Weight decay and all else that an optimizer was made with; a list where its groups of parameters differ."""
    groups = optimizer.param_groups
    options: dict[str, Any] = {"class": type(optimizer).__qualname__}
    for name in sorted({name for group in groups for name in group if name != "params"}):
        values = [_values(group.get(name)) for group in groups if _is_plain(name, group.get(name))]
        options |= {name: values[0] if all(value == values[0] for value in values) else values} if values else {}
    return options


def _is_plain(name: str, value: Any) -> bool:
    """Whether a value can be kept and compared; names that begin with _ are a class's own affair."""
    if isinstance(value, Mapping):
        return not name.startswith("_") and all(_is_plain("", one) for one in value.values())
    if isinstance(value, list | tuple):
        return not name.startswith("_") and all(_is_plain("", one) for one in value)
    return not name.startswith("_") and (type(value) in PLAIN or isinstance(value, Tensor))


def _values(value: Any) -> Any:
    """A copy of plain values; tensors and tuples as lists."""
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _values(one) for name, one in value.items()}
    return [_values(one) for one in value] if isinstance(value, list | tuple) else value
