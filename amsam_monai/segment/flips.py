"""Averages over an image and its mirror images, prompts turned along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from amsam_monai.networks.prompts import Prompts, Segmentation

FLIPS = {"vertical": -2, "horizontal": -1}


def flip_sets(flips: Sequence[str]) -> list[tuple[int, ...]]:
    """Dimensions to turn over for the image as it is, (), and for every combination of the flips.

    Raises:
        ValueError: a name that is not among FLIPS.
    """
    if unknown := [flip for flip in flips if flip not in FLIPS]:
        raise ValueError(f"flips must be among {tuple(FLIPS)}, got {unknown}.")
    dims = [FLIPS[flip] for flip in dict.fromkeys(flips)]
    return [chosen for count in range(len(dims) + 1) for chosen in combinations(dims, count)]


def flip_prompts(prompts: Prompts, size: Sequence[int], dims: Sequence[int]) -> Prompts:
    """The prompts of an image of `size` (height, width) turned over along `dims`, -2 and -1.

    Raises:
        ValueError: there is a mask prompt, which lies in SAM's square.
    """
    if prompts.mask is not None:
        raise ValueError("flips must not go with a mask prompt, which lies in SAM's square.")

    def points(xy: Tensor) -> Tensor:
        turned = xy.clone()
        for dim in dims:  # -1 turns x, the first number, over
            turned[..., -1 - dim] = size[dim] - 1 - xy[..., -1 - dim]
        return turned

    def boxes(xyxy: Tensor) -> Tensor:
        turned = xyxy.clone()
        for dim in dims:
            turned[..., [-1 - dim, 1 - dim]] = size[dim] - xyxy[..., [1 - dim, -1 - dim]]
        return turned

    return prompts.map(points, boxes)


def mean_logits(logits: Sequence[Tensor], floor: float | None = None) -> Tensor:
    """Logarithm of the mean probability, which softmax turns back into the mean; of one part, that part as it is.

    Args:
        logits: parts of the same shape, classes along dimension 1.
        floor: least probability; by default the least number of the type.
    """
    if len(logits) == 1:
        return logits[0]
    mean = torch.stack([part.softmax(1) for part in logits]).mean(0)
    return mean.clamp_min(torch.finfo(mean.dtype).tiny if floor is None else floor).log()


def encode_flipped(encode: Callable[[Tensor], Any], image: Tensor, flips: Sequence[str] = ()) -> list[Any]:
    """Embeddings of the image (B, 3, H, W) and of its flips, as `segment_flipped` takes them."""
    return [encode(image.flip(dims)) for dims in flip_sets(flips)]


@torch.no_grad()
def segment_flipped(
    network: Any,
    image: Tensor,
    prompts: Prompts | None = None,
    *,
    flips: Sequence[str] = (),
    embeddings: Sequence[Any] | None = None,
) -> Segmentation:
    """`network.segment`, with the mean of the probabilities, presence and quality over the image and its flips.

    Args:
        network: a system.
        image: in [0, 1].
        prompts: in pixels of `image`; they are turned along.
        flips: names of FLIPS; all their combinations take part.
        embeddings: what `encode_flipped` gives, where it is there.

    Returns:
        Logarithms of mean probabilities as logits, and the prompts of the image as it is.

    Shape: image (B, 3, H, W).

    Raises:
        ValueError: an unknown flip, or flips with a mask prompt.
    """
    if not flips:
        return network.segment(image, prompts, *(embeddings or ()))
    answers = []
    for number, dims in enumerate(flip_sets(flips)):
        turned = None if prompts is None else flip_prompts(prompts, image.shape[-2:], dims)
        embedding = None if embeddings is None else embeddings[number]
        answers.append(network.segment(image.flip(dims), turned, embedding))
        answers[-1].logits = answers[-1].logits.flip(dims)
    return mean_answer(answers)


def mean_answer(answers: Sequence[Segmentation]) -> Segmentation:
    """Answers for an image and its flips, turned back, as one: means, and the first one's prompts.

    Probabilities, presence and quality are averaged; the logits are logarithms of mean probabilities. Of one answer,
    that answer as it is.
    """
    if len(answers) == 1:
        return answers[0]
    presence, quality = (
        None if getattr(answers[0], name) is None else torch.stack([getattr(one, name) for one in answers]).mean(0)
        for name in ("presence", "quality")
    )
    return Segmentation(mean_logits([one.logits for one in answers]), answers[0].prompts, presence, quality)
