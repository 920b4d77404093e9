"""Image encoders made faster for inference: compiled, or with 8-bit weights on a processor."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from amsam_monai.networks.sam.tiny_vit import TinyViT

COMPILE = ("default", "max-autotune")


def compile_encoders(network: nn.Module, mode: str) -> None:
    """Let torch.compile make machine code of a network's image encoders, in place, at their first call.

    That call takes a minute or so, and one more where the last batch is smaller; what follows is faster. A C++ compiler
    must be there on a processor.

    Args:
        network: with a SAM.
        mode: "default", or "max-autotune", which takes longer first and may be faster then.

    Raises:
        ValueError: another mode, or a network without an image encoder.
    """
    if mode not in COMPILE:
        raise ValueError(f"compile must be one of {', '.join(COMPILE)}, got {mode!r}.")
    for _, encoder in encoders_of(network):
        encoder.compile(mode=mode)


def shrink_encoders(network: nn.Module) -> None:
    """Give the linear layers of a network's TinyViT 8-bit weights, in place: for inference on a processor.

    Weights are rounded layer by layer, and activations while it runs (PyTorch's dynamic quantisation).

    Raises:
        ValueError: a network on another device, with another image encoder, or that trains.
    """
    for holder, encoder in encoders_of(network):
        if not isinstance(encoder, TinyViT):
            raise ValueError(f"int8 must go with MobileSAM's TinyViT, got {type(encoder).__name__}; leave it out.")
        if any(parameter.device.type != "cpu" for parameter in encoder.parameters()):
            raise ValueError("int8 must go with a network on a processor; leave it out, or choose --device cpu.")
        if encoder.training:
            raise ValueError("int8 must go with a network in evaluation mode; call eval() first.")
        holder.image_encoder = torch.ao.quantization.quantize_dynamic(encoder, {nn.Linear}, dtype=torch.qint8)


def encoders_of(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Each SAM of a network and its image encoder.

    Raises:
        ValueError: there is none.
    """
    found = [one for one in getattr(network, "sams", []) if hasattr(one, "image_encoder")]
    if not found:
        raise ValueError("network must have a SAM with an image encoder to make it faster, got none.")
    yield from ((one, one.image_encoder) for one in found)
