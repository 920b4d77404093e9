"""Gradients kept short."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import nn


class ClipGradients:
    """Scale all gradients down together where their norm is larger than `max_norm`, before each step.

    Args:
        network: whose gradients.
        max_norm: largest norm.

    Raises:
        ValueError: max_norm is not positive.
    """

    def __init__(self, network: nn.Module, max_norm: float = 1.0) -> None:
        if max_norm <= 0:
            raise ValueError(f"max_norm must be positive, got {max_norm}.")
        self.network, self.max_norm = network, max_norm

    def attach(self, engine: Engine) -> None:
        """Clip after each backward pass of `engine`."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip."""
        trainer: Any = engine
        if trainer.scaler is not None:
            trainer.scaler.unscale_(trainer.optimizer)
        nn.utils.clip_grad_norm_([p for p in self.network.parameters() if p.grad is not None], self.max_norm)
