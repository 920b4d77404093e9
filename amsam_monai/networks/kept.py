"""A tensor that is made of others, and kept for as long as these hold the same values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amsam_monai.networks.in_graph import in_graph


class Kept:
    """What was last made of some tensors; it is made again when one of them has other values.

    On CPUs alone, since a comparison elsewhere would make the host wait for the device. In graphs, under autocast and
    where a gradient is wanted it is made each time. Nobody may change what it gives.
    """

    def __init__(self) -> None:
        self._kept: tuple[list[Tensor], Tensor] | None = None

    def of(self, sources: Sequence[Tensor], make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives, which reads these tensors and nothing else that changes."""
        if in_graph() or torch.is_autocast_enabled("cpu") or any(one.device.type != "cpu" for one in sources):
            return make()
        if torch.is_grad_enabled() and any(one.requires_grad for one in sources):
            return make()
        kept = self._kept
        if kept is None or not all(_equal(*pair) for pair in zip(kept[0], sources, strict=True)):
            with torch.inference_mode(False), torch.no_grad():  # training may read it later
                kept = self._kept = [one.detach().clone() for one in sources], make()
        return kept[1]


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
