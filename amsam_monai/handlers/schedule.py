"""Learning rates as a function of the iteration alone, so that a resumed run needs no scheduler's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer


class PolynomialDecay:
    """Set lr_i = lr_0 (1 - i / I)^power before iteration i of I (AM-SAM, arXiv:2410.09714, section 4.2).

    Args:
        optimizers: one or several; each parameter group starts from its own learning rate.
        power: 0 keeps the learning rates as they are.
        warmup: iterations of linear rise before the decay, which then counts from their end (SAMed's schedule).

    Raises:
        ValueError: negative power or warm-up.
    """

    def __init__(self, optimizers: Optimizer | Sequence[Optimizer], *, power: float = 0.9, warmup: int = 0) -> None:
        if power < 0 or warmup < 0:
            raise ValueError(f"power and warmup must not be negative, got {power} and {warmup}.")
        optimizers = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)
        self.groups = [(optimizer, [group["lr"] for group in optimizer.param_groups]) for optimizer in optimizers]
        self.power = power
        self.warmup = warmup

    def attach(self, engine: Engine) -> None:
        """Set the learning rates before each iteration of `engine`."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the learning rates of the iteration that begins."""
        state: Any = engine.state
        factor = self.factor(state.iteration - 1, state.max_epochs * state.epoch_length)
        for optimizer, initial in self.groups:
            for group, lr in zip(optimizer.param_groups, initial, strict=True):
                group["lr"] = lr * factor

    def factor(self, iteration: int, total: int) -> float:
        """What multiplies the initial learning rate at `iteration` (from 0) of `total`."""
        if iteration < self.warmup:
            return (iteration + 1) / self.warmup
        return max(0.0, 1 - (iteration - self.warmup) / max(1, total)) ** self.power
