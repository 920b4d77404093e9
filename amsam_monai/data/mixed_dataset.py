"""A few real samples with many of another kind mixed in, which keep the few from being learned by heart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from monai.data import MetaTensor
from torch.utils.data import ConcatDataset, Dataset

from amsam_monai import keys

KEPT = (keys.IMAGE, keys.LABEL, keys.EMBEDDING)


class MixedDataset(ConcatDataset[dict[str, Any]]):
    """The samples of `data`, repeated, and those of `extra`, so that the latter are `share` of all.

    Which is which follows from the index alone, so that a resumed training draws what would have come. Samples keep
    image, label, embedding and the name of their case, and lose what only one of the kinds has.

    Args:
        data: the few samples.
        extra: the others, say phantoms; none leaves `data` as it is.
        share: of `extra` among all items, in (0, 1); met as closely as whole repetitions of `data` allow.

    Raises:
        ValueError: no data, or a share outside (0, 1).
    """

    def __init__(self, data: Dataset[Any], extra: Dataset[Any], *, share: float = 0.4) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}; leave the extra samples out for none.")
        sizes = [len(cast(Sequence[Any], part)) for part in (data, extra)]
        if not sizes[0]:
            raise ValueError("data must have at least one sample, got none.")
        times = max(1, round(sizes[1] * (1 - share) / share / sizes[0]))
        super().__init__([data] * times + ([extra] if sizes[1] else []))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample number `index` as plain tensors, with its case's name, "" for none."""
        sample = super().__getitem__(index)
        parts = {key: torch.as_tensor(sample[key]) for key in KEPT if key in sample}
        plain = {key: part.as_tensor() if isinstance(part, MetaTensor) else part for key, part in parts.items()}
        return {**plain, keys.CASE_ID: str(sample.get(keys.CASE_ID, ""))}
