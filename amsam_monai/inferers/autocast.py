"""Mixed precision on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor


class AutocastInferer(SimpleInferer):
    """Call the network under autocast, on the CPU as well; MONAI's `amp=True` is CUDA's alone.

    bfloat16 needs no loss scaling. Losses here compute in float32 whatever the logits are.

    Args:
        dtype: "bfloat16", or "float32" for none.

    Raises:
        ValueError: another dtype.
    """

    def __init__(self, dtype: str = "bfloat16") -> None:
        super().__init__()
        if dtype not in ("bfloat16", "float32"):
            raise ValueError(f"dtype must be bfloat16 or float32, got {dtype!r}.")
        self.enabled = dtype == "bfloat16"

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the network gives for `inputs`."""
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=self.enabled):
            return super().__call__(inputs, network, *args, **kwargs)
