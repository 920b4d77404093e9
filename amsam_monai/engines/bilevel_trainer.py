"""Bi-level training: the adapter on one half of the training images, the prompt embedding on the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys
from torch import Tensor, nn
from torch.optim import Optimizer

from amsam_monai.engines.cycling import CyclingSampler
from amsam_monai.engines.hypergradient import ORDERS, Call, Indirect, Loss, check_optimizer, gradients, step_jacobian
from amsam_monai.engines.prepare_batch import PrepareSystemBatch
from amsam_monai.handlers.checkpoints import unwrap

logger = logging.getLogger(__name__)

UPPER_LOSS = "upper_loss"


class BilevelTrainer(SupervisedTrainer):
    """Two levels: W on D1, then A on D2 with the W that has just moved (AM-SAM, arXiv:2410.09714, Eq. 6-8; BLO-SAM).

    A SupervisedTrainer whose data loader and optimizer are the lower level's. Every D2 image is used: the upper loader
    goes round and round (`cycling_loader`; an ordinary loader starts again where it ends, but does not resume exactly).
    Learning rates are a handler's work, `PolynomialDecay([optimizer, upper_optimizer])`.

    The output of an iteration has the lower level's image, label, pred and loss, and "upper_loss", the last of the
    epoch, NaN before the first; `state.upper_loss` and `state.upper_batch` keep it and its batch. With several
    processes, the network is wrapped in DistributedDataParallel and both loaders share out their images; gradients are
    means over the processes.

    Args:
        device: where it runs.
        max_epochs: epochs of D1.
        train_data_loader: batches of D1.
        upper_data_loader: batches of D2.
        network: a system, or any module.
        optimizer: of W, say `AdamW(network.lower_parameters())`.
        upper_optimizer: of A, say `AdamW(network.upper_parameters())`.
        loss_function: of logits and label, for both levels.
        order: "first" ignores that W depends on A; "second" differentiates through the AdamW step exactly;
            "finite_difference" approximates that with two more backward passes. Both unroll the one last step.
        lower_steps: steps of W between two upper updates.
        upper_steps: steps of A in an upper update; 1 unless the order is "first".
        accumulation_steps: batches of D1 whose gradients make one step of W.
        prepare_batch: of both levels; the default asks for low-resolution logits.
        kwargs: of SupervisedTrainer: train_handlers, key_train_metric, amp and so on. With `amp`, autocast is that of
            the device, and `amp_kwargs` its settings.

    Raises:
        ValueError: an unknown order, steps below 1, parameters in both levels or of another module, an inner optimiser
            that cannot be differentiated, or `compile`.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Iterable[Any],
        upper_data_loader: Iterable[Any],
        network: nn.Module,
        optimizer: Optimizer,
        upper_optimizer: Optimizer,
        loss_function: Callable[[Tensor, Tensor], Tensor],
        *,
        order: str = "first",
        lower_steps: int = 1,
        upper_steps: int = 1,
        accumulation_steps: int = 1,
        prepare_batch: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if order not in ORDERS:
            raise ValueError(f"order must be one of {ORDERS}, got {order!r}.")
        if min(lower_steps, upper_steps, accumulation_steps) < 1 or (upper_steps > 1 and order != "first"):
            raise ValueError(
                "lower_steps, upper_steps and accumulation_steps must be at least 1, upper_steps just 1 unless the "
                f"order is 'first', got {lower_steps}, {upper_steps} and {accumulation_steps}."
            )
        if kwargs.get("compile"):
            raise ValueError("BilevelTrainer cannot take compile=True, it runs the network with other parameters too.")
        if order != "first":
            check_optimizer(optimizer)
        self.order, self.lower_steps, self.upper_steps = order, lower_steps, upper_steps
        self.upper_data_loader = upper_data_loader
        self.upper_optimizer = upper_optimizer
        self.lower_parameters = _parameters(optimizer)
        self.upper_parameters = _parameters(upper_optimizer)
        _check_levels(unwrap(network), self.lower_parameters, self.upper_parameters)
        self._upper_batches: Iterator[Any] | None = None
        self._pending: list[Any] = []  # prepared batches of the lower step that is being accumulated
        super().__init__(
            device=torch.device(device),
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
            prepare_batch=prepare_batch or PrepareSystemBatch(low_res=True),
            **kwargs,
        )
        self.accumulation_steps = accumulation_steps
        self.add_event_handler(Events.EPOCH_STARTED, self._rewind)

    def _iteration(self, engine: Any, batchdata: dict[str, Tensor]) -> dict[str, Any]:
        """One batch of D1, and the steps that are due after it."""
        if not self._pending:
            self.optimizer.zero_grad(set_to_none=True)
        self.network.train()
        prepared = self._prepare(batchdata)
        self._pending.append(prepared)
        self.state.output = {CommonKeys.IMAGE: prepared[0], CommonKeys.LABEL: prepared[1]}
        with self._autocast():
            pred, loss = self._loss(prepared, self.network)
        self.state.output[CommonKeys.PRED] = pred
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        self.state.output[CommonKeys.LOSS] = loss
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        self._scale(loss * self._weight()).backward()
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self._step_is_due():
            self._step()
            self._pending = []
        self.state.output[UPPER_LOSS] = self.state.upper_loss
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _step(self) -> None:
        """Move W, and A if it is its turn."""
        upper_is_due = self._steps_done() % self.lower_steps == 0
        indirect = None
        if upper_is_due and self.order != "first":
            indirect = Indirect(unwrap(self.network), self.lower_parameters, self.upper_parameters, self.order)
        self._do_step(self.optimizer)
        for _ in range(self.upper_steps if upper_is_due else 0):
            self._upper_step(indirect)
        if self.scaler is not None:
            self.scaler.update()

    def _upper_step(self, indirect: Indirect | None) -> None:
        wanted = self.upper_parameters if indirect is None else [*self.upper_parameters, *self.lower_parameters]
        self.state.upper_batch = self._next_upper_batch()
        prepared = self._prepare(self.state.upper_batch)
        with self._autocast():
            _, loss = self._loss(prepared, unwrap(self.network))
        parts = self._mean(gradients(self._scale(loss), wanted))
        grads = parts[: len(self.upper_parameters)]
        if indirect is not None:
            slopes = [step_jacobian(self.optimizer, parameter) for parameter in self.lower_parameters]
            direction = [slope * part for slope, part in zip(slopes, parts[len(grads) :], strict=True)]
            through = self._mean(indirect([self._weighted(batch) for batch in self._pending], direction))
            grads = [direct + other for direct, other in zip(grads, through, strict=True)]
        for parameter, grad in zip(self.upper_parameters, grads, strict=True):
            parameter.grad = grad
        self._do_step(self.upper_optimizer)
        self.upper_optimizer.zero_grad(set_to_none=True)
        self.state.upper_loss = loss.detach()

    def _prepare(self, batch: Any) -> tuple[Any, Any, tuple[Any, ...], dict[str, Any]]:
        prepared = self.prepare_batch(batch, self.state.device, self.non_blocking, **self.to_kwargs)
        return prepared if len(prepared) == 4 else (*prepared, (), {})

    def _loss(self, prepared: tuple[Any, Any, tuple[Any, ...], dict[str, Any]], call: Call) -> tuple[Tensor, Tensor]:
        inputs, targets, args, kwargs = prepared
        pred = self.inferer(inputs, call, *args, **kwargs)
        return pred, self.loss_function(pred, targets).mean()

    def _weighted(self, prepared: Any) -> Loss:
        def loss(call: Call) -> Tensor:
            with self._autocast():
                return self._loss(prepared, call)[1] * self._weight()

        return loss

    def _weight(self) -> float:
        return 1.0 / self.accumulation_steps

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, enabled=self.amp, **self.amp_kwargs)

    def _scale(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)

    def _do_step(self, optimizer: Optimizer) -> None:
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)  # leaves the gradients unscaled

    def _step_is_due(self) -> bool:
        batch = self._batch_of_epoch()
        return batch % self.accumulation_steps == 0 or batch == self.state.epoch_length

    def _batch_of_epoch(self) -> int:
        """Number of this batch in its epoch, from 1."""
        return self.state.iteration - (self.state.epoch - 1) * self.state.epoch_length

    def _steps_done(self) -> int:
        """Lower steps of the whole run, this one included."""
        per_epoch = -(-self.state.epoch_length // self.accumulation_steps)
        return (self.state.epoch - 1) * per_epoch + -(-self._batch_of_epoch() // self.accumulation_steps)

    def _next_upper_batch(self) -> Any:
        if self._upper_batches is None:
            self._upper_batches = iter(self.upper_data_loader)
        try:
            return next(self._upper_batches)
        except StopIteration:
            self._upper_batches = iter(self.upper_data_loader)
            return next(self._upper_batches)

    def _rewind(self, engine: Engine) -> None:
        """Begin the epoch with the D2 image that follows the last epoch's, in a resumed run too."""
        self.state.upper_loss, self.state.upper_batch = torch.tensor(float("nan")), None
        sampler = getattr(self.upper_data_loader, "sampler", None)
        if isinstance(sampler, CyclingSampler):
            per_epoch = -(-self.state.epoch_length // self.accumulation_steps)
            updates = (self.state.epoch - 1) * per_epoch // self.lower_steps
            sampler.start = updates * self.upper_steps * (getattr(self.upper_data_loader, "batch_size", 1) or 1)
            self._upper_batches = None

    def _mean(self, grads: Sequence[Tensor]) -> list[Tensor]:
        """Means over the processes that share the network."""
        if not isinstance(self.network, nn.parallel.DistributedDataParallel):
            return list(grads)
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        parts = (flat / dist.get_world_size()).split([grad.numel() for grad in grads])
        return [part.view_as(grad) for part, grad in zip(parts, grads, strict=True)]


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _check_levels(network: nn.Module, lower: Sequence[nn.Parameter], upper: Sequence[nn.Parameter]) -> None:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    below, above = {id(parameter) for parameter in lower}, {id(parameter) for parameter in upper}
    if not (below and above and below | above <= names.keys()):
        raise ValueError("both optimizers must hold parameters of the network, and none of another module.")
    if below & above:
        shared = ", ".join(sorted(names[key] for key in below & above))
        raise ValueError(f"a parameter must belong to one level, got in both: {shared}.")
    trained = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    left = sorted(names[key] for key in trained - below - above)
    if left:
        logger.warning("%d parameters train in neither level: %s", len(left), ", ".join(left[:8]))
    logger.info("bi-level: %d numbers below, %d above", sum(p.numel() for p in lower), sum(p.numel() for p in upper))
