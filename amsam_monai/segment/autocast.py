"""Mixed precision on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor

PRECISIONS = ("auto", "bfloat16", "float32")


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16. Others emulate it, two to three times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "mps"


def computed_in(dtype: str, device: torch.device | str) -> str:
    """What "auto", "bfloat16" or "float32" means on a device: bfloat16 or float32."""
    if dtype not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {dtype!r}.")
    return "bfloat16" if dtype == "auto" and has_bfloat16(torch.device(device)) else dtype.replace("auto", "float32")


def autocast(dtype: str, device: torch.device) -> torch.autocast:
    """A context in which networks compute in a dtype, see `computed_in`. bfloat16 needs no loss scaling."""
    enabled = computed_in(dtype, device) == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


class AutocastInferer(SimpleInferer):
    """Call the network under autocast, on the CPU as well; MONAI's `amp=True` is CUDA's alone.

    Losses here compute in float32 whatever the logits are.

    Args:
        dtype: "auto", bfloat16 where the device computes in it and float32 elsewhere; "bfloat16"; or "float32".

    Raises:
        ValueError: another dtype.
    """

    def __init__(self, dtype: str = "auto") -> None:
        super().__init__()
        computed_in(dtype, "cpu")  # refuses an unknown one
        self.dtype = dtype

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the network gives for `inputs`."""
        with autocast(self.dtype, inputs.device):
            return super().__call__(inputs, network, *args, **kwargs)
