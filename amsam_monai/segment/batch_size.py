"""How many slices go through a network at once: few on a processor, what fits on a GPU, half where memory ran out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

logger = logging.getLogger(__name__)

FIRST = 4  # slices of the first batch, which shows what a slice takes
MOST = 64
SHARE = 0.6  # of the free memory, since other programs and other slices need some


class BatchSize:
    """The size of the next batch of a volume.

    Args:
        told: slices in a batch; None is FIRST, and on a GPU from the second batch on as many as its free memory holds.
        device: where the network runs.
    """

    def __init__(self, told: int | None, device: torch.device) -> None:
        self.size, self.device = told or FIRST, device
        self.measures = told is None and device.type == "cuda"

    def batches(self, depth: int, run: Callable[[int, int], None]) -> Iterator[int]:
        """Call `run(start, stop)` until all slices are done, and give the number done after each batch.

        A batch that runs out of memory is done again in halves.

        Raises:
            torch.OutOfMemoryError: one slice alone does not fit.
        """
        start = 0
        while start < depth:
            stop = min(start + self.size, depth)
            try:
                with self._measured(stop - start):
                    run(start, stop)
            except torch.OutOfMemoryError as error:
                if stop - start == 1:
                    raise torch.OutOfMemoryError(
                        f"{self.device}: a single slice must fit into its memory; take another device, or end other "
                        f"programs there ({error})"
                    ) from error
                self.size, self.measures = (stop - start) // 2, False
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                logger.warning("%s ran out of memory; batches have %d slices from now on", self.device, self.size)
                continue
            start = stop
            yield start

    @contextmanager
    def _measured(self, count: int) -> Iterator[None]:
        """Take the size of all further batches from what this one takes."""
        if not self.measures:
            yield
            return
        self.measures = False
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        yield
        taken = torch.cuda.max_memory_allocated(self.device) - before
        free = torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device) - before
        self.size = fitting(taken / count, free)


def fitting(slice_bytes: float, free_bytes: float) -> int:
    """Slices in a batch, from 1 to MOST, that take a SHARE of the free memory at most."""
    return int(min(MOST, max(1.0, SHARE * free_bytes / max(1.0, slice_bytes))))
