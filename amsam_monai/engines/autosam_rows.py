"""The rows of AutoSAM's tables beside AutoSAM itself: baselines, timing, pictures, and one g for several data sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from amsam_monai import keys
from amsam_monai.data.embeddings.cache import EmbeddingCache
from amsam_monai.engines.fixed_views_training import FixedViewsSettings, adam, fixed_views_loader, low_res_loss
from amsam_monai.engines.turned_batch import PrepareTurnedBatch
from amsam_monai.framing import SquareFrame
from amsam_monai.handlers.overlays import draw_overlay
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.systems.autosam import AutoSAM
from amsam_monai.segment.autocast import AutocastInferer

TRUE_MASK_LOGIT = 10.0  # about what SAM's own confident masks have


def point_prompt(label: Tensor) -> Prompts:
    """The point deepest inside the true mask, in pixels of the image. Shape (1, H, W) -> (1, 1, 1, 2)."""
    mask = np.asarray(label)[0] == 1
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Prompts(points_xy=torch.tensor([[[[float(column), float(row)]]]]), point_labels=torch.ones(1, 1, 1))


def mask_prompt(label: Tensor, net: AutoSAM) -> Prompts:
    """The true mask as SAM's mask prompt: logits at four times the grid. Shape (1, H, W) -> (1, 1, 4g, 4g)."""
    mask = (torch.as_tensor(np.asarray(label))[None] == 1).float()
    side = 4 * net.sam.grid
    frame = SquareFrame(mask.shape[-2], mask.shape[-1], net.image_size, net.resize)
    small = F.interpolate(frame.image(mask), (side, side), mode="bilinear", antialias=True)
    return Prompts(mask=(small * 2 - 1) * TRUE_MASK_LOGIT)


def plain_sam(net: AutoSAM, image: Tensor, *, embedding: Tensor, prompts: Prompts, low_res: bool = False) -> Tensor:
    """SAM's first mask under a person's prompts alone, without g.

    Shape: image (1, 3, H, W) -> logits (1, 2, H, W), or (1, 2, h, w) with `low_res`, see `System.forward`.
    """
    frame = net.frame(image)
    logits, _ = net.decode(embedding, net.sam.no_mask_dense(1), prompts.map(frame.points, frame.boxes))
    logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return frame.crop(logits) if low_res else frame.restore(logits)


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


def train_shared(
    net: AutoSAM, parts: Sequence[tuple[Sequence[dict[str, Any]], FixedViewsSettings]], cache: EmbeddingCache
) -> None:
    """Train one g on several data sets, a token each: batches of one set, the sets in turn until all are through.

    Args:
        net: its generator has a domain for each part.
        parts: samples and settings of each data set; epochs and optimiser are the first one's.
        cache: of the network's embeddings.
    """
    settings, device = parts[0][1], next(net.parameters()).device
    torch.manual_seed(settings.seed)
    loaders = [fixed_views_loader(net, samples, cache, own, device=device) for samples, own in parts]
    optimizer, loss = adam(net, **settings.of_adam()), low_res_loss(net)
    steps = settings.epochs * sum(len(loader) for loader in loaders)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=settings.decay)
    prepare, infer = (
        PrepareTurnedBatch(turns=settings.turns, colour=settings.colour),
        AutocastInferer(settings.precision),
    )
    net.train()
    for _ in range(settings.epochs):
        for domain, batch in _in_turn(loaders):
            net.domain = domain
            image, label, _, arguments = prepare(batch, device)
            logits = infer(image, net, **arguments)
            optimizer.zero_grad()
            loss(logits, label).backward()
            optimizer.step()
            schedule.step()


def _in_turn(loaders: Sequence[Any]) -> Any:
    """(number of the loader, batch), spread evenly over the epoch of each."""
    order = sorted((step / len(loader), domain) for domain, loader in enumerate(loaders) for step in range(len(loader)))
    streams = [iter(loader) for loader in loaders]
    return ((domain, next(streams[domain])) for _, domain in order)


@torch.no_grad()
def picture_sheet(net: AutoSAM, samples: Sequence[dict[str, Any]], *, side: int = 200) -> Image.Image:
    """A column per image: the image, h(g(I)), AutoSAM, the truth (as Fig. 4 of the paper).

    Args:
        net: with h.
        samples: "image" (3, H, W) in [0, 1] and "label" (1, H, W).
        side: of each picture, in pixels.
    """
    device = next(net.parameters()).device
    sheet = Image.new("RGB", (side * len(samples), side * 4))
    for column, sample in enumerate(samples):
        image = torch.as_tensor(np.asarray(sample[keys.IMAGE]))
        light = net.use_light()(image[None].to(device))[0].cpu()
        full = net.use_light(False)(image[None].to(device))[0].cpu()
        truth = torch.as_tensor(np.asarray(sample[keys.LABEL]))
        for row, pred in enumerate((None, light, full, truth)):
            sheet.paste(draw_overlay(image, pred=pred, side=side), (column * side, row * side))
    return sheet
