"""Steps of a session, to undo and redo."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from amsam_monai.session.edits import SliceEdits

MAX_STEPS = 200


@dataclass(frozen=True)
class SliceState:
    """A slice as a step remembers it: its edits, and its mask, compressed."""

    edits: SliceEdits
    mask: bytes


Step = dict[int, SliceState]


def pack(mask: np.ndarray) -> bytes:
    """A mask (H, W) uint8, compressed."""
    return zlib.compress(np.ascontiguousarray(mask).tobytes(), 1)


def unpack(packed: bytes, shape: tuple[int, int]) -> np.ndarray:
    """The mask of `pack`."""
    return np.frombuffer(zlib.decompress(packed), dtype=np.uint8).reshape(shape)


class History:
    """Steps to undo and redo; a step holds the slices that it changed as they were before."""

    def __init__(self, limit: int = MAX_STEPS) -> None:
        self.limit = limit
        self.done: list[Step] = []
        self.undone: list[Step] = []

    def record(self, before: Step) -> None:
        """A step was taken: it can be undone, and what was undone is gone."""
        self.done.append(before)
        del self.done[: -self.limit]
        self.undone.clear()

    def widen(self, before: Step) -> None:
        """Add slices to the last step, where they are not in it."""
        if self.done:
            self.done[-1] = {**before, **self.done[-1]}
