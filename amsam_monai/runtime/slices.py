"""Slices of a volume with their neighbours, mirror images, and probabilities, in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

FLIPS = {"vertical": -2, "horizontal": -1}


def slabs(slices: np.ndarray, batch: int, around: int) -> Iterator[tuple[int, np.ndarray]]:
    """Batches of slices with `around` neighbours on both sides as channels, the first and last repeated at the ends.

    Shape: slices (D, H, W) -> number of the first, (n, 2 around + 1, H, W).
    """
    steps = np.arange(-around, around + 1)
    for start in range(0, len(slices), batch):
        numbers = np.arange(start, min(start + batch, len(slices)))
        yield start, slices[np.clip(numbers[:, None] + steps, 0, len(slices) - 1)]


def flip_sets(flips: Sequence[str]) -> list[tuple[int, ...]]:
    """Axes to turn over: none, and every combination of the flips."""
    dims = [FLIPS[flip] for flip in dict.fromkeys(flips)]
    return [chosen for count in range(len(dims) + 1) for chosen in combinations(dims, count)]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities. Shape (B, C, H, W) -> the same."""
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities. Shape (B, C, H, W) -> the same."""
    away = logits - logits.max(axis=1, keepdims=True)
    return away - np.log(np.exp(away).sum(axis=1, keepdims=True))


def logsumexp(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of exponentials along the first axis."""
    highest = logits.max(axis=0)
    return highest + np.log(np.exp(logits - highest).sum(axis=0))
