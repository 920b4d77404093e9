"""Ending a training that has diverged, before what it left is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn

from amsam_monai import keys

LARGEST = 65504.0  # of float16, in which model files keep weights


class DivergenceError(ValueError):
    """A loss or a weight that is NaN or infinite."""


class StopOnDivergence:
    """End training by an error at a loss that is NaN or infinite, or at the end of an epoch that left such weights.

    The error tells epoch, batch and cases. It comes before the step that such a loss would cause, and before the epoch
    is validated or saved: files hold what the last good epoch left. Trained weights beyond `LARGEST` count as infinite:
    a single step at far too high a rate leaves numbers as yet. (Ignite's `TerminateOnNan` ends a training as if it were
    complete.)

    Args:
        network: that trains.

    Raises:
        DivergenceError: while the engine runs.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Look at each loss of `engine`, and at the weights after the last batch of an epoch."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.check_loss)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.check_upper_loss)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.check_weights)

    def check_loss(self, engine: Engine) -> None:
        """Refuse the loss of the batch."""
        state: Any = engine.state
        _refuse(state, "loss", state.output["loss"], state.batch)

    def check_upper_loss(self, engine: Engine) -> None:
        """Refuse the upper level's loss, see `BilevelTrainer`."""
        state: Any = engine.state
        if (batch := getattr(state, "upper_batch", None)) is not None:
            _refuse(state, "upper loss", state.upper_loss, batch)

    def check_weights(self, engine: Engine) -> None:
        """Refuse the weights that an epoch leaves."""
        state: Any = engine.state
        if _batch_number(state) < state.epoch_length:
            return
        for name, value in self.network.named_parameters():
            if value.requires_grad and not bool((value.detach().abs() <= LARGEST).all()):
                raise DivergenceError(
                    f"the training diverged: epoch {state.epoch} left {name} with values that are NaN, infinite or "
                    f"beyond {LARGEST:.0f}. {KEPT}"
                )


KEPT = "Files stay as the last good epoch left them; lower the learning rate."


def _refuse(state: Any, what: str, loss: Any, batch: Any) -> None:
    value = torch.as_tensor(loss).detach()
    if bool(value.isfinite().all()):
        return
    place = f"epoch {state.epoch}, batch {_batch_number(state)} of {state.epoch_length}"
    cases = f" ({', '.join(names)})" if (names := case_names(batch)) else ""
    raise DivergenceError(f"the training diverged: the {what} is {float(value.mean())} at {place}{cases}. {KEPT}")


def _batch_number(state: Any) -> int:
    """Of the batch in its epoch, from 1."""
    return int(state.iteration - (state.epoch - 1) * state.epoch_length)


def case_names(batch: Any) -> list[str]:
    """Ids of a batch's cases, each once; empty where it does not tell."""
    told = batch.get(keys.CASE_ID) if isinstance(batch, Mapping) else None
    names = [told] if isinstance(told, str) else list(told or [])
    return list(dict.fromkeys(str(name) for name in names if name))
