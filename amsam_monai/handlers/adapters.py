"""Handlers that write and read adapters while an engine runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from amsam_monai.bundles.fit import check_fit, is_recorded
from amsam_monai.bundles.settings import Settings
from amsam_monai.handlers.checkpoints import load_adapter, save_adapter, unwrap

logger = logging.getLogger(__name__)

KEEP = ("best", "last")


class AdapterSaver:
    """Save a model file at the end of an epoch: the best by the engine's key metric, or the last.

    Attach `keep="best"` to the evaluator, whose key metric decides, and `keep="last"` to the trainer.
    Only the process of rank 0 writes.

    Args:
        network: a system, or any module (whose whole state is saved then).
        path: the file, say models/model.pt; written atomically.
        keep: one of KEEP.
        half: store floating-point tensors as float16, half the size.
        settings: the bundle's, kept in the file, see `Settings`; None keeps what the network was built with.
        recipe: {name, version} of the recipe that the bundle was built from.

    Raises:
        ValueError: unknown `keep`; `keep="best"` on an engine without a key metric; settings of another network; at
            an epoch's end, weights that are NaN or infinite.
    """

    def __init__(
        self,
        network: nn.Module,
        path: str | os.PathLike[str],
        *,
        keep: str = "best",
        half: bool = False,
        settings: Settings | Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        if keep not in KEEP:
            raise ValueError(f"keep must be one of {KEEP}, got {keep!r}.")
        self.network = network
        self.path = Path(path)
        self.keep = keep
        self.half = half
        self.settings = None if settings is None else Settings.of(settings)
        self.recipe = recipe
        if self.settings is not None and is_recorded(unwrap(network)):
            check_fit(unwrap(network), self.settings)

    def attach(self, engine: Engine) -> None:
        """Save after each epoch of `engine`."""
        if self.keep == "best" and getattr(engine.state, "key_metric_name", None) is None:
            raise ValueError(
                "AdapterSaver with keep='best' needs an engine with a key metric; "
                "attach it to the evaluator, or use keep='last'."
            )
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Save if this epoch is the one to keep."""
        state: Any = engine.state
        if self.keep == "best" and state.best_metric_epoch != state.epoch:
            return
        if state.rank == 0:
            save_adapter(self.network, self.path, half=self.half, settings=self.settings, recipe=self.recipe)
            if self.keep == "best":
                name, value = state.key_metric_name, state.best_metric
                logger.info("%s %.4f at epoch %d, saved %s", name, value, state.epoch, self.path)


class AdapterCheckpointLoader:
    """Load an adapter when the engine starts; the file's keys must be the network's.

    MONAI FL leaves out handlers whose name has "CheckpointLoader" in it, since it sends the weights that are scored.

    Args:
        network: a system; other settings than those the adapter was trained with are refused.
        path: a file of AdapterSaver.

    Raises:
        FileNotFoundError: at the start, there is no such file.
        ValueError: at the start, it is damaged or does not fit.
    """

    def __init__(self, network: nn.Module, path: str | os.PathLike[str]) -> None:
        self.network = network
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Load when `engine` starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load."""
        load_adapter(self.network, self.path)
