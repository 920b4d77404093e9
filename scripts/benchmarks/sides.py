"""Sides of a benchmark's row: timed in turn, and told as a table and as JSON."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Sides = Mapping[str, Sequence[float]]


def in_turn(
    sides: Mapping[str, Callable[[], object]], rounds: int, *, device: str = "cpu", first: int = 1
) -> dict[str, list[float]]:
    """Seconds of each side in each round, one side after the other, so that a busy machine slows all of them alike.

    Args:
        sides: what is timed.
        rounds: that count.
        device: waited for where it is a GPU.
        first: rounds before those.
    """
    times: dict[str, list[float]] = {who: [] for who in sides}
    for _ in range(first + rounds):
        for who, run in sides.items():
            begun = time.perf_counter()
            run()
            wait_for(device)
            times[who].append(time.perf_counter() - begun)
    return {who: each[first:] for who, each in times.items()}


def wait_for(device: str) -> None:
    """Let a GPU end what it was given."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def tell(rows: Mapping[str, Sides], out: Path | None = None, **facts: Any) -> None:
    """Print a table of the medians, and write all times.

    Args:
        rows: of each row the times of its sides, ours first.
        out: JSON.
        facts: what else it says.
    """
    table = ["| what | who | median, s | fastest, s | times ours |", "|---|---|--:|--:|--:|"]
    ratios: dict[str, dict[str, float]] = {}
    for row, sides in rows.items():
        medians = {who: statistics.median(each) for who, each in sides.items()}
        ours = next(iter(medians.values()))
        ratios[row] = {who: median / ours for who, median in medians.items()}
        for who, each in sides.items():
            table.append(f"| {row} | {who} | {medians[who]:.4g} | {min(each):.4g} | {ratios[row][who]:.2f} |")
    print("\n".join(table))
    if out is not None:
        told = {"machine": platform.processor() or platform.machine(), **facts, "ratios": ratios, "seconds": rows}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
