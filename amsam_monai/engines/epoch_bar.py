"""A bar of a trainer's epochs."""

from __future__ import annotations

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar


def epoch_bar(trainer: Engine, description: str = "epochs") -> None:
    """Show how many of a trainer's epochs are done while it runs."""
    ProgressBar(desc=description).attach(
        trainer, event_name=Events.EPOCH_COMPLETED, closing_event_name=Events.COMPLETED
    )
