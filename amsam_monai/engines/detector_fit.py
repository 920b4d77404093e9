"""What fits either detector on batches of views: the trainer, its schedule, and the running mean of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, cast

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from amsam_monai.handlers import ClipGradients, StopOnDivergence
from amsam_monai.networks.detector.views import Scene

MAX_NORM = 10.0  # of a step's gradients, as Ultralytics has it


class FitSettings(Protocol):
    """What `fitted` reads of a detector's settings."""

    @property
    def learning_rate(self) -> float:
        """Of AdamW."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""

    @property
    def average(self) -> float:
        """Decay of the weights' running mean."""


def fitted(
    model: nn.Module,
    loss: nn.Module,
    batches: Any,
    settings: FitSettings,
    *,
    use_buffers: bool = False,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int, float], None] | None = None,
) -> nn.Module:
    """The running mean of a model that is trained on batches, ready to infer.

    Args:
        model: on `device`.
        loss: the model with its loss behind it, see `trainer_of_batches`.
        batches: of tensors by name, with a length.
        settings: rate, decay and average.
        use_buffers: the mean has the buffers' mean, too.
        device: where to train.
        progress: called after each step with (step, steps, loss).
    """
    averaged = AveragedModel(model, avg_fn=running_mean(settings.average), use_buffers=use_buffers)
    trainer = trainer_of_batches(
        loss,
        batches,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        device=device,
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: averaged.update_parameters(model))
    if progress is not None:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, report_progress, progress)
    trainer.run()
    return averaged.module.eval()


def names_of(num_classes: int, names: Sequence[str] | None) -> list[str]:
    """The K names of a detector's classes, numbers where there are none.

    Raises:
        ValueError: another number of names.
    """
    names = list(names or [f"class {k}" for k in range(1, num_classes + 1)])
    if len(names) != num_classes:
        raise ValueError(f"class_names must be {num_classes} names, got {len(names)}.")
    return names


def check_objects(scenes: Sequence[Scene], num_classes: int) -> None:
    """Refuse labels without any object.

    Raises:
        ValueError: there is none.
    """
    if not any(len(scene.classes) for scene in scenes):
        raise ValueError(f"labels must hold an object of classes 1..{num_classes}, got none in {len(scenes)}.")


def trainer_of_batches(
    network: nn.Module,
    batches: Any,
    *,
    learning_rate: float,
    weight_decay: float,
    device: str | torch.device = "cpu",
) -> SupervisedTrainer:
    """A trainer of one epoch, ready to run, of a network whose answer to a batch is its loss.

    Args:
        network: its parameters that are to train require gradients.
        batches: of tensors by name, with a length.
        learning_rate: of AdamW; it rises for a tenth of the steps and falls along a cosine to a twentieth.
        weight_decay: of AdamW.
        device: where to train.
    """
    network = network.train()
    optimizer = torch.optim.AdamW(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        lr=learning_rate,
        weight_decay=weight_decay,
    )
    schedule: Any = LambdaLR(optimizer, partial(_schedule, steps=len(batches)))
    return SupervisedTrainer(
        device=torch.device(device),
        max_epochs=1,
        train_data_loader=batches,
        epoch_length=len(batches),
        network=network,
        optimizer=optimizer,
        loss_function=lambda loss, _: loss,
        prepare_batch=lambda batch, at, *_, **__: ({name: value.to(at) for name, value in batch.items()}, None),
        decollate=False,
        optim_set_to_none=True,
        train_handlers=[
            StopOnDivergence(network),
            ClipGradients(network, MAX_NORM),
            LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
        ],
    )


def report_progress(engine: Engine, progress: Callable[[int, int, float], None]) -> None:
    """Tell step, steps and loss of a trainer."""
    output = cast("dict[str, Any]", engine.state.output)
    progress(engine.state.iteration, engine.state.epoch_length or 0, float(output["loss"].detach()))


def running_mean(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential mean that follows closely at first, so that a short training counts."""

    def mean(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        if not old.is_floating_point():  # a counter among the buffers
            return new
        return old.lerp(new, 1 - min(decay, (1 + int(count)) / (10 + int(count))))

    return mean


def _schedule(step: int, steps: int) -> float:
    """A short linear warm-up, then a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / max(1.0, 0.1 * steps))
    return warm * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))
