"""A loader that goes round and round, shuffled, and can begin anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from monai.data import DataLoader
from torch.utils.data import Dataset, Sampler


class CyclingSampler(Sampler[int]):
    """Indices without end: each round visits every item once, in an order drawn from the seed and the round's number.

    Where the round stands follows from `start` alone, so that a resumed run goes on with the item that would have come.

    Args:
        size: number of items.
        seed: another seed gives other orders.
        shuffle: False keeps the order of the items in every round.
        rank: this process; processes take turns, so that together they visit every item once a round.
        processes: number of processes.

    Raises:
        ValueError: no items, or a rank that is not one of the processes.
    """

    def __init__(self, size: int, *, seed: int = 0, shuffle: bool = True, rank: int = 0, processes: int = 1) -> None:
        if size < 1:
            raise ValueError(f"there must be at least one item to go round, got {size}.")
        if not 0 <= rank < processes:
            raise ValueError(f"rank must lie in 0..{processes - 1}, got {rank}.")
        self.size, self.seed, self.shuffle = size, seed, shuffle
        self.rank, self.processes = rank, processes
        self.start = 0  # items that this process has had

    def __iter__(self) -> Iterator[int]:
        """Indices from `start` on."""
        position = self.start * self.processes + self.rank
        number, order = -1, torch.empty(0, dtype=torch.long)
        while True:
            if position // self.size != number:
                number = position // self.size
                order = self.round(number)
            yield int(order[position % self.size])
            position += self.processes

    def round(self, number: int) -> torch.Tensor:
        """The order of round `number`."""
        if not self.shuffle:
            return torch.arange(self.size)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        return torch.randperm(self.size, generator=generator)


def cycling_loader(
    dataset: Dataset[Any],
    *,
    batch_size: int = 1,
    seed: int = 0,
    shuffle: bool = True,
    rank: int = 0,
    processes: int = 1,
    num_workers: int = 0,
    **kwargs: Any,
) -> DataLoader:
    """A loader without end over a `CyclingSampler`, for the upper level of `BilevelTrainer`.

    Args:
        dataset: D2.
        batch_size: items in a batch; every batch is full, a round may end within one.
        seed: see `CyclingSampler`.
        shuffle: see `CyclingSampler`.
        rank: see `CyclingSampler`.
        processes: see `CyclingSampler`.
        num_workers: processes that prepare samples.
        kwargs: of torch's DataLoader.
    """
    size = len(dataset)  # type: ignore[arg-type]
    sampler = CyclingSampler(size, seed=seed, shuffle=shuffle, rank=rank, processes=processes)
    return DataLoader(dataset, num_workers=num_workers, batch_size=batch_size, sampler=sampler, **kwargs)
