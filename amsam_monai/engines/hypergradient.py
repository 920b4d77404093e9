"""How the upper level's parameters act on the lower level's step: the second-order part of the upper gradient.

With W' = W + AdamW(g), g = grad_W L1(W, A), the gradient of L2(W'(A), A) is

    dL2/dA = grad_A L2(W', A)  +  grad_A <g(W, A), u>,      u = (dW'/dg) grad_W' L2(W', A).

AdamW acts on each number alone, so that dW'/dg is a diagonal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import AdamW, Optimizer

ORDERS = ("first", "second", "finite_difference")

Call = Callable[..., Any]  # a network, or the network with other values for some parameters
Loss = Callable[[Call], Tensor]


def check_optimizer(optimizer: Optimizer) -> None:
    """Refuse an inner optimiser whose step we cannot differentiate.

    Raises:
        ValueError: it is not plain AdamW.
    """
    plain = isinstance(optimizer, AdamW) and not any(
        group.get("amsgrad") or group.get("maximize") for group in optimizer.param_groups
    )
    if not plain:
        raise ValueError(
            f"orders other than 'first' differentiate AdamW's step (without amsgrad or maximize), "
            f"got {type(optimizer).__name__}; use torch.optim.AdamW, or order='first'."
        )


def step_jacobian(optimizer: Optimizer, parameter: nn.Parameter) -> Tensor:
    """dW'/dg of the step that AdamW has just done, from its state and the gradient that is still there.

    The root holds eps squared inside, sqrt(v + eps^2) for sqrt(v) + eps: equal to 1e-8 where v is not tiny, and
    differentiable at g = 0, where LoRA's A begins since its B is zero.

    A parameter without a gradient did not move, its slope is zero.

    Shape: as the parameter.
    """
    if parameter.grad is None or not optimizer.state[parameter]:
        return torch.zeros_like(parameter)
    group = next(group for group in optimizer.param_groups if any(p is parameter for p in group["params"]))
    state = optimizer.state[parameter]
    beta1, beta2 = group["betas"]
    bias1, bias2 = 1 - beta1 ** float(state["step"]), 1 - beta2 ** float(state["step"])
    mean = state["exp_avg"] / bias1
    root = (state["exp_avg_sq"] / bias2 + group["eps"] ** 2).sqrt()
    slope = (1 - beta1) / bias1 / root - mean * (1 - beta2) * parameter.grad / bias2 / root**3
    return -group["lr"] * slope


class Indirect:
    """The second term, grad_A <g(W, A), u>.

    Args:
        network: not wrapped for several processes.
        lower: W's parameters, whose values are kept now, before the step.
        upper: A's parameters.
        order: "second" is exact; "finite_difference" is DARTS' (arXiv:1806.09055, Eq. 8), with AdamW's own slope
            where DARTS takes plain descent; two backward passes instead of one through a backward pass.
    """

    def __init__(
        self, network: nn.Module, lower: Sequence[nn.Parameter], upper: Sequence[nn.Parameter], order: str
    ) -> None:
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        self.network, self.lower, self.upper, self.order = network, list(lower), list(upper), order
        self.names = [names[id(parameter)] for parameter in self.lower]
        self.before = [parameter.detach().clone() for parameter in self.lower]

    def __call__(self, losses: Sequence[Loss], direction: Sequence[Tensor]) -> list[Tensor]:
        """The term for W as it was, summed over the losses of the step's batches.

        Args:
            losses: lower losses, weighted as in the step.
            direction: u, one tensor for each lower parameter.
        """
        term = self._exact if self.order == "second" else self._difference
        parts = [term(loss, direction) for loss in losses]
        return [torch.stack(part).sum(0) for part in zip(*parts, strict=True)]

    def _call(self, values: Sequence[Tensor]) -> Call:
        overrides = dict(zip(self.names, values, strict=True))
        return lambda *args, **kwargs: functional_call(self.network, overrides, args, kwargs)

    def _exact(self, loss: Loss, direction: Sequence[Tensor]) -> tuple[Tensor, ...]:
        values = [value.clone().requires_grad_() for value in self.before]
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            grads = gradients(loss(self._call(values)), values, create_graph=True)
            product = torch.stack([(grad * part).sum() for grad, part in zip(grads, direction, strict=True)]).sum()
            if not product.requires_grad:  # the lower gradient does not depend on A
                return tuple(torch.zeros_like(parameter) for parameter in self.upper)
            return gradients(product, self.upper)

    def _difference(self, loss: Loss, direction: Sequence[Tensor]) -> tuple[Tensor, ...]:
        # where g is zero by structure, AdamW's slope is 1 / eps: the exact term meets a zero, differences would drown
        direction = [
            part if parameter.grad is None else part.where(parameter.grad != 0, 0)
            for part, parameter in zip(direction, self.lower, strict=True)
        ]
        norm = torch.stack([part.norm() for part in direction]).norm()
        if norm == 0:
            return tuple(torch.zeros_like(parameter) for parameter in self.upper)
        step = 0.01 / norm
        sides = []
        for sign in (1, -1):
            values = [value + sign * step * part for value, part in zip(self.before, direction, strict=True)]
            sides.append(gradients(loss(self._call(values)), self.upper))
        return tuple((plus - minus) / (2 * step) for plus, minus in zip(*sides, strict=True))


def gradients(loss: Tensor, inputs: Sequence[Tensor], *, create_graph: bool = False) -> tuple[Tensor, ...]:
    """Gradients of a loss, zero for inputs that it does not depend on."""
    return torch.autograd.grad(loss, list(inputs), create_graph=create_graph, materialize_grads=True, allow_unused=True)
