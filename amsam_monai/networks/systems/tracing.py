"""Networks as TorchScript."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn


def traced(module: nn.Module, example: tuple[Tensor, ...], *, freeze: bool = True) -> Any:
    """A module recorded by TorchScript, for any number of images.

    Args:
        module: in evaluation mode.
        example: its inputs, of two images at least.
        freeze: leave out what it does not read; such a module cannot be a part of a scripted one.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # a tracer warns of each size that it takes as fixed
        recorded: Any = torch.jit.trace(module.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
        return torch.jit.freeze(recorded) if freeze else recorded
