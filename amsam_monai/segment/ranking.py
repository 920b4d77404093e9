"""Which case a person should see next: the least certain, or the most unlike those that were seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amsam_monai.session.session import InteractiveSession

SLICES = 5


def sample_slices(depth: int, count: int = SLICES) -> list[int]:
    """Slices spread evenly over a volume, its ends left out."""
    count = min(count, depth)
    return [int((place + 0.5) * depth / count) for place in range(count)]


def certainty(session: InteractiveSession, slices: Sequence[int] | None = None) -> float:
    """How sure the network is of an open image, in [0, 1]: the mean over slices of its least sure class.

    A class counts with its predicted IoU where the network sees it, and with how clearly the presence classifier
    speaks, whatever it says. A system that tells neither gives 1.

    Args:
        session: with the image open.
        slices: where to look; by default five spread over the volume.
    """
    values = []
    for number in slices if slices is not None else sample_slices(session.depth):
        result = session.segment(number)
        if isinstance(result, list):
            continue
        values.append(slice_certainty(session.labels, result.mask, result.quality, result.presence))
    return float(np.mean(values)) if values else 1.0


def slice_certainty(
    labels: Mapping[int, str], mask: np.ndarray, quality: Mapping[str, float], presence: Mapping[str, float]
) -> float:
    """Certainty of one slice, see `certainty`."""
    found = []
    for index, name in labels.items():
        if name in quality and quality[name] == quality[name] and (mask == index).any():
            found.append(min(max(quality[name], 0.0), 1.0))
        if name in presence:
            found.append(2.0 * abs(presence[name] - 0.5))
    return min(found, default=1.0)


def signature(session: InteractiveSession, slices: Sequence[int] | None = None) -> np.ndarray:
    """What an open image looks like to the network: mean embedding over cells and slices, of length 1. Shape (256,)."""
    numbers = slices if slices is not None else sample_slices(session.depth, 3)
    means = [session.answers.embedding(number)[0].flatten(1).mean(1).cpu().numpy() for number in numbers]
    mean = np.mean(means, axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def most_diverse(candidates: Mapping[str, np.ndarray], seen: Sequence[np.ndarray]) -> str:
    """The candidate farthest from its nearest seen case; where none is seen, the one nearest to all others.

    Raises:
        ValueError: no candidates.
    """
    if not candidates:
        raise ValueError("candidates must not be empty.")
    names = sorted(candidates)
    vectors = np.stack([candidates[name] for name in names])
    if not len(seen):
        return names[int((vectors @ vectors.T).sum(1).argmax())]
    nearest = (vectors @ np.stack(list(seen)).T).max(1)
    return names[int(nearest.argmin())]


def least_certain(certainties: Mapping[str, float]) -> str:
    """The case that the network is least sure of; of equal ones the first by name.

    Raises:
        ValueError: no cases.
    """
    if not certainties:
        raise ValueError("certainties must not be empty.")
    return min(sorted(certainties), key=lambda name: certainties[name])
