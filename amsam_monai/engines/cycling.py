"""Loaders of epochs of any length, shared out to processes, whose order follows from the seed and a number alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ignite.distributed as idist
import torch
from monai.data import DataLoader
from torch.utils.data import Dataset, Sampler
from torch.utils.data.distributed import DistributedSampler


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


class EpochSampler(DistributedSampler[Any]):
    """Indices of an epoch of any length: rounds over all items, each shuffled by the seed and the epoch's number.

    MONAI's engines tell a DistributedSampler the epoch, so that a resumed run goes on with what would have come.

    Args:
        dataset: what is drawn from.
        length: items in an epoch, of all processes together; a multiple of their number.
        seed: another seed gives other orders.
        shuffle: False keeps the order of the items in every round.

    Raises:
        ValueError: no items, or a length that the processes cannot share.
    """

    def __init__(self, dataset: Dataset[Any], length: int, *, seed: int = 0, shuffle: bool = True) -> None:
        processes = idist.get_world_size()
        super().__init__(dataset, processes, idist.get_rank(), shuffle=shuffle, seed=seed)
        self.size = len(dataset)  # type: ignore[arg-type]
        if self.size < 1:
            raise ValueError("dataset must have at least one item to train on, got none.")
        if length < 1 or length % processes:
            raise ValueError(f"length must be a positive multiple of the {processes} processes, got {length}.")
        self.num_samples, self.total_size = length // processes, length

    def __iter__(self) -> Iterator[int]:
        """This process's indices of the epoch, every `processes`-th."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        rounds = range(-(-self.total_size // self.size))
        orders = [
            torch.randperm(self.size, generator=generator) if self.shuffle else torch.arange(self.size) for _ in rounds
        ]
        return iter(torch.cat(orders)[self.rank : self.total_size : self.num_replicas].tolist())


def epoch_loader(
    dataset: Dataset[Any], *, batch_size: int, batches: int, seed: int = 0, shuffle: bool = True, **kwargs: Any
) -> DataLoader:
    """A loader of epochs of `batches` batches, however many items there are; for the lower level, or the only one.

    Args:
        dataset: what is drawn from.
        batch_size: items in a batch of all processes together; each gets its share.
        batches: batches in an epoch.
        seed: see `EpochSampler`.
        shuffle: see `EpochSampler`.
        kwargs: of torch's DataLoader.

    Raises:
        ValueError: no batches.
    """
    if not isinstance(batches, int) or batches < 1:
        raise ValueError(f"batches of an epoch must be a whole number, at least 1, got {batches!r}.")
    sampler = EpochSampler(dataset, batch_size * batches, seed=seed, shuffle=shuffle)
    return DataLoader(
        dataset, batch_size=_share(batch_size, sampler.num_replicas), sampler=sampler, **{"num_workers": 0, **kwargs}
    )


def cycling_loader(
    dataset: Dataset[Any],
    *,
    batch_size: int = 1,
    seed: int = 0,
    shuffle: bool = True,
    rank: int | None = None,
    processes: int | None = None,
    num_workers: int = 0,
    **kwargs: Any,
) -> DataLoader:
    """A loader without end over a `CyclingSampler`, for the upper level of `BilevelTrainer`.

    Args:
        dataset: D2.
        batch_size: items in a batch of all processes together; every batch is full, a round may end within one.
        seed: see `CyclingSampler`.
        shuffle: see `CyclingSampler`.
        rank: see `CyclingSampler`; None asks torch.distributed.
        processes: see `CyclingSampler`; None asks torch.distributed.
        num_workers: processes that prepare samples.
        kwargs: of torch's DataLoader.
    """
    rank = idist.get_rank() if rank is None else rank
    processes = idist.get_world_size() if processes is None else processes
    size = len(dataset)  # type: ignore[arg-type]
    sampler = CyclingSampler(size, seed=seed, shuffle=shuffle, rank=rank, processes=processes)
    share = _share(batch_size, processes)
    return DataLoader(dataset, num_workers=num_workers, batch_size=share, sampler=sampler, **kwargs)


def _share(batch_size: int, processes: int) -> int:
    """One process's part of a batch."""
    if batch_size < 1 or batch_size % processes:
        raise ValueError(f"batch_size must be a positive multiple of the {processes} processes, got {batch_size}.")
    return batch_size // processes
