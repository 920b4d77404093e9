"""Resuming a training that was interrupted, so that it ends as if it had not been."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from torch import nn

from amsam_monai.data.files.claim import claim, release
from amsam_monai.handlers.checkpoints import adapter_state, load_adapter_state, read_checkpoint, save_atomically

logger = logging.getLogger(__name__)


class TrainState:
    """Write adapter, optimisers, schedulers and epoch after each epoch, and continue from them at the start.

    Random numbers need no saving: every epoch seeds torch, numpy, random and the dataset's transforms anew from `seed`,
    the epoch and the rank. A run that was killed and started again therefore draws what it would have drawn.
    (Workers that outlive the epoch, `persistent_workers`, cannot be seeded so.)

    When training completes, the file is removed: an interrupted run continues, a finished one starts anew.

    Args:
        network: a system, or any module.
        path: the file, in the run's output folder.
        objects: what training changes beside the trainer's own optimisers, say schedulers, by name; each has state_dict
            and load_state_dict.
        evaluator: the validating engine, whose best metric and its epoch are kept too.
        seed: seeds every epoch; another seed is another run.
        settings: plain values that must be the same to continue, say the ids of the training cases.
        resume: continue from the file where there is one; False overwrites it.
        keep: leave the file after the last epoch, to train longer later.

    Raises:
        ValueError: at the start, the file is damaged, or comes from a run with other settings.
        OSError: at the start, another training writes into the same folder.
    """

    def __init__(
        self,
        network: nn.Module,
        path: str | os.PathLike[str],
        *,
        objects: Mapping[str, Any] | None = None,
        evaluator: Engine | None = None,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        resume: bool = True,
        keep: bool = False,
    ) -> None:
        self.network = network
        self.path = Path(path)
        self.objects = dict(objects or {})
        self.evaluator = evaluator
        self.settings = {"seed": seed, **(settings or {})}
        self.seed = seed
        self.resume = resume
        self.keep = keep
        self._claim: FileLock | None = None

    def attach(self, engine: Engine) -> None:
        """Continue when `engine` starts, seed each epoch, write after it, clean up at the end."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.seed_epoch)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Continue from the file, if there is one, and write after everything else of an epoch has run."""
        if not engine.has_event_handler(self.write, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)  # now, so that it comes last
        if engine.state.rank == 0:  # type: ignore[attr-defined]
            self._claim = claim(self.path.with_name(f".{self.path.name}.lock"), "another training")
        if self.resume and self.path.is_file():
            self._restore(engine)

    def seed_epoch(self, engine: Engine) -> None:
        """Seed every source of random numbers from the seed, the epoch and the rank."""
        state: Any = engine.state
        words = np.random.SeedSequence([self.seed, state.epoch, state.rank]).generate_state(5)
        torch.manual_seed(int(words[0]))
        np.random.seed(int(words[1]))
        random.seed(int(words[2]))
        for name, word in (("data_loader", words[3]), ("upper_data_loader", words[4])):
            set_rnd(getattr(getattr(engine, name, None), "dataset", None), int(word))
        engine.set_data(state.dataloader)  # starts anew where an epoch is shorter than the loader

    def write(self, engine: Engine) -> None:
        """Write the file."""
        state: Any = engine.state
        if state.rank != 0:
            return
        content = {
            "model": adapter_state(self.network),
            "objects": {name: thing.state_dict() for name, thing in self._objects(engine).items()},
            "epoch": state.epoch,
            "iteration": state.iteration,
            "epoch_length": state.epoch_length,
            "settings": self.settings,
            "best": _best(engine),
            "best_validation": None if self.evaluator is None else _best(self.evaluator),
        }
        save_atomically(content, self.path)

    def finish(self, engine: Engine) -> None:
        """Remove the file once all epochs are done."""
        state: Any = engine.state
        if not self.keep and state.rank == 0 and state.epoch >= state.max_epochs:
            self.path.unlink(missing_ok=True)
        if self._claim is not None:
            release(self._claim)

    def _restore(self, engine: Engine) -> None:
        remedy = f"Remove {self.path} (or set resume=False) to train anew."
        content = read_checkpoint(self.path, remedy=remedy)
        self._check(content, engine, remedy)
        try:
            load_adapter_state(self.network, content["model"])
        except ValueError as error:
            raise ValueError(f"{self.path}: {error} {remedy}") from error
        for name, thing in self._objects(engine).items():
            thing.load_state_dict(content["objects"][name])
        engine.state.epoch, engine.state.iteration = content["epoch"], content["iteration"]
        _set_best(engine, content["best"])
        if self.evaluator is not None and content["best_validation"] is not None:
            _set_best(self.evaluator, content["best_validation"])
        logger.info("continuing after epoch %d of %s, from %s", content["epoch"], engine.state.max_epochs, self.path)

    def _check(self, content: Any, engine: Engine, remedy: str) -> None:
        keys = {"model", "objects", "epoch", "iteration", "epoch_length", "settings", "best", "best_validation"}
        if not isinstance(content, dict) or not keys <= content.keys():
            raise ValueError(f"{self.path} must be written by TrainState, got other content. {remedy}")
        was = {**content["settings"], "epoch_length": content["epoch_length"], "objects": sorted(content["objects"])}
        names = sorted(self._objects(engine))
        now = {**self.settings, "epoch_length": engine.state.epoch_length, "objects": names}
        if changed := _changed(was, now):
            raise ValueError(f"{self.path} comes from a run with other settings: {'; '.join(changed)}. {remedy}")

    def _objects(self, engine: Engine) -> dict[str, Any]:
        own = {name: getattr(engine, name, None) for name in ("optimizer", "upper_optimizer", "scaler")}
        return {**{name: thing for name, thing in own.items() if thing is not None}, **self.objects}


def _changed(was: Any, now: Any, name: str = "") -> list[str]:
    """Both values of whatever differs, in mappings at any depth."""
    if not (isinstance(was, Mapping) and isinstance(now, Mapping)):
        return [] if was == now else [f"{name} was {was}, is {now}"]
    prefix = f"{name}." if name else ""
    return [line for key in {**now, **was} for line in _changed(was.get(key), now.get(key), f"{prefix}{key}")]


def _best(engine: Engine) -> dict[str, Any]:
    state: Any = engine.state
    metric = getattr(state, "best_metric", -1)
    return {"metric": float(metric), "epoch": int(getattr(state, "best_metric_epoch", -1))}


def _set_best(engine: Engine, best: dict[str, Any]) -> None:
    state: Any = engine.state
    state.best_metric, state.best_metric_epoch = best["metric"], best["epoch"]
