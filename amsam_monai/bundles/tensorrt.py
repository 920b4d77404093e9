"""Image encoders in TensorRT, by MONAI's `trt_compile`: what `configs/inference_trt.yaml` puts around the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai.networks import trt_compile
from torch import nn

from amsam_monai.data.files.atomic import check_writable
from amsam_monai.networks.sam.sam import SAM


def encoders_in_tensorrt(
    network: nn.Module, root: str | Path, *, precision: str = "fp16", batch: Sequence[int] = (1, 8, 64)
) -> nn.Module:
    """The network with its SAMs' image encoders in TensorRT, built at the first image and kept in models/.

    They are built anew where models/model.pt is newer. Without TensorRT, Polygraphy or a GPU nothing changes, and a
    warning says so.

    Args:
        network: trained.
        root: the bundle.
        precision: "fp16", "bf16", "tf32" or "fp32".
        batch: the fewest, the usual and the most images at once; more go through PyTorch.

    Raises:
        OSError: models/ cannot be written to, or the bundle is installed.
        ValueError: `batch` is not three numbers that rise.
    """
    if len(batch) != 3 or not 1 <= batch[0] <= batch[1] <= batch[2]:
        raise ValueError(f"batch must be the fewest, usual and most images at once, got {list(batch)}.")
    models = Path(root) / "models"
    check_writable(models)
    args = {"precision": precision, "dynamic_batchsize": list(batch), "fallback": True}
    trt_compile(network, str(models / "model.pt"), args=args, submodule=encoder_names(network))
    return network


def encoder_names(network: nn.Module) -> list[str]:
    """Names of the modules that are SAMs' image encoders, as `get_submodule` takes them."""
    found = [name for name, module in network.named_modules() if isinstance(module, SAM)]
    return [f"{name}.image_encoder".removeprefix(".") for name in found]
