"""What each part of AutoSAM costs: seconds, multiplications, memory, parameters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.systems.autosam import AutoSAM


@torch.no_grad()
def time_parts(net: AutoSAM, images: Sequence[Tensor]) -> dict[str, Any]:
    """Median seconds per image, GMACs, peak memory and parameters of encoder, g, decoder and h; seconds of both forms.

    Shape: images (3, H, W) in [0, 1].

    Raises:
        ValueError: the network has no h.
    """
    surrogate = net.surrogate
    if surrogate is None:
        raise ValueError("net must have a surrogate decoder to be timed, got none; pass surrogate=SurrogateDecoder().")
    device = next(net.parameters()).device
    pixels = [net.frame(image[None]).image(image[None].to(device), net.sam.fill) for image in images]
    embedding = net.sam.encode(pixels[0])
    dense = net.dense_prompt(pixels[0], embedding)
    parts: dict[str, Callable[[Tensor], Any]] = {
        "encoder": net.sam.encode,
        "g": lambda square: net.dense_prompt(square, embedding),
        "decoder": lambda _: net.decode(embedding, dense, Prompts()),
        "h": lambda _: surrogate(dense),
    }
    seconds = {name: _median_seconds(part, pixels, device) for name, part in parts.items()}
    for name, light in (("light", True), ("autosam", False)):
        net.use_light(light)
        seconds[name] = _median_seconds(lambda image: net(image[None].to(device)), images, device)
    gmacs = {}
    for name, part in parts.items():
        with FlopCounterMode(display=False) as counter:
            part(pixels[0])
        gmacs[name] = counter.get_total_flops() / 2e9
    modules = {"encoder": net.sam.image_encoder, "g": net.generator, "decoder": net.sam.mask_decoder, "h": surrogate}
    return {
        "seconds_per_image": seconds,
        "gmacs": gmacs,
        "peak_mib": {name: _peak_mib(part, pixels[0], device) for name, part in parts.items()},
        "million_parameters": {
            name: sum(p.numel() for p in module.parameters()) / 1e6 for name, module in modules.items()
        },
        "threads": torch.get_num_threads(),
        "device": str(device),
    }


def _peak_mib(part: Callable[[Tensor], Any], image: Tensor, device: torch.device) -> float:
    """Most memory that tensors made in `part` hold at once, in MiB; weights are there before and do not count."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        part(image)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        part(image)
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return float(np.cumsum([0, *(size for _, size in changes)]).max()) / 2**20


def _median_seconds(part: Callable[[Tensor], Any], inputs: Sequence[Tensor], device: torch.device) -> float:
    part(inputs[0])
    spent = []
    for one in inputs:
        start = time.perf_counter()
        part(one)
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - start)
    return float(np.median(spent))
