"""How long a row has: on the clock, or of the processor where others use the machine too."""

from __future__ import annotations

import time

CLOCKS = ("wall", "processor")


class Clock:
    """Seconds since the start, and how many steps fit into what is left.

    Args:
        minutes: that the row has.
        kind: "wall", or "processor": processor time over the number of threads, for a machine that is shared.
        threads: of the row.
    """

    def __init__(self, minutes: float, kind: str = "wall", threads: int = 1) -> None:
        if kind not in CLOCKS:
            raise ValueError(f"clock must be one of {', '.join(CLOCKS)}, got {kind!r}.")
        self.budget, self.kind, self.threads = 60 * minutes, kind, threads
        self.begun = 0.0 if kind == "processor" else time.perf_counter()

    def seconds(self) -> float:
        """Since the start; of the whole process where the processor's time counts."""
        if self.kind == "processor":
            return time.process_time() / self.threads
        return time.perf_counter() - self.begun

    def steps_left(self, seconds_per_step: float, reserve: float = 0.03) -> int:
        """Steps that fit into the rest, less a share of it for what comes after."""
        left = (self.budget - self.seconds()) * (1 - reserve)
        return max(0, int(left / max(seconds_per_step, 1e-6)))
