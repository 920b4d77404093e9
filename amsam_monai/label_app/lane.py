"""How many requests may wait for the network at once; one more is told to come again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import HTTPException
from fastapi.concurrency import run_in_threadpool

VARIABLE = "AMSAM_LABEL_QUEUE"
USUAL = 16

Result = TypeVar("Result")


class Lane:
    """Requests that compute or wait to; those that are still sending what they ask do not count.

    Args:
        places: how many there may be.
    """

    def __init__(self, places: int = USUAL) -> None:
        if places < 1:
            raise ValueError(f"places must be at least 1, got {places}.")
        self.places, self.taken = places, 0
        self._lock = threading.Lock()

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Lane:
        """As many places as $AMSAM_LABEL_QUEUE says."""
        return cls(int(environment.get(VARIABLE) or USUAL))

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place while the block runs.

        Raises:
            HTTPException: 429, all are taken.
        """
        with self._lock:
            if self.taken >= self.places:
                message = f"{self.places} requests wait already; ask again in a moment."
                raise HTTPException(429, message, headers={"Retry-After": "1"})
            self.taken += 1
        try:
            yield
        finally:
            with self._lock:
                self.taken -= 1

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do the work in a thread of its own, in a place of the lane."""
        with self.place():
            return await run_in_threadpool(work, *arguments)
