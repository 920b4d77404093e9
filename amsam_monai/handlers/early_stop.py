"""Ending a training that no longer gets better."""

from __future__ import annotations

import logging
from typing import Any

from ignite.engine import Engine, Events

logger = logging.getLogger(__name__)


class StopEarly:
    """End training once the validating engine's key metric has not risen for `patience` epochs.

    It reads the best epoch that the evaluator knows, which `TrainState` keeps, so that a run that was interrupted stops
    where it would have stopped. Attach it to the trainer, after the `ValidationHandler`. (MONAI's `EarlyStopHandler`
    hangs on the evaluator and must be given the trainer, which a config cannot build in a circle.)

    Args:
        evaluator: the validating engine, with a key metric.
        patience: epochs of training.

    Raises:
        ValueError: patience below 1, or an evaluator without a key metric.
    """

    def __init__(self, evaluator: Engine, *, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 epoch, got {patience}.")
        if getattr(evaluator.state, "key_metric_name", None) is None:
            raise ValueError("evaluator must have a key metric to stop by; give it key_val_metric.")
        self.evaluator, self.patience = evaluator, patience

    def attach(self, engine: Engine) -> None:
        """Look after each epoch of `engine`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Make this epoch the last one if the best is too long ago."""
        best: Any = self.evaluator.state
        if best.best_metric_epoch < 0 or engine.state.epoch - best.best_metric_epoch < self.patience:
            return
        logger.info("no better than epoch %d for %d epochs: done", best.best_metric_epoch, self.patience)
        engine.state.max_epochs = engine.state.epoch  # not terminate(): the run is complete, not broken off
