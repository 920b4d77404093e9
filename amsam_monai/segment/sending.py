"""Tensors on their way between memory and a GPU, which computes meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Callable[[], Tensor]:
    """Begin to copy a tensor to a device; what is given waits for the copy alone, and gives it.

    What a GPU is told before is done before, and what it is told afterwards does not hold up the copy.
    """
    if tensor.device.type == device.type or not torch.cuda.is_available():
        there = tensor.to(device)
        return lambda: there
    if device.type == "cuda":  # its own order of work waits
        ahead = tensor.contiguous().pin_memory().to(device, non_blocking=True)
        return lambda: ahead
    here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    here.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))

    def arrived() -> Tensor:
        copied.synchronize()
        return here

    return arrived
