"""Steps of a session, to undo and redo."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from amsam_monai.session.edits import SliceEdits

MAX_STEPS = 200


@dataclass(frozen=True)
class SliceState:
    """A slice as a step remembers it: its edits, its mask, and what of it was painted by hand, compressed."""

    edits: SliceEdits
    mask: bytes
    painted: bytes | None = None


Step = dict[int, SliceState]


def pack(mask: np.ndarray) -> bytes:
    """A mask (H, W), compressed."""
    return zlib.compress(np.ascontiguousarray(mask).tobytes(), 1)


def unpack(packed: bytes, shape: tuple[int, int], dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """The mask of `pack`, read-only.

    Raises:
        ValueError: it has another size.
        zlib.error: it is damaged.
    """
    count = shape[0] * shape[1] * np.dtype(dtype).itemsize
    values = zlib.decompressobj().decompress(packed, count + 1)  # what is read from a file may claim to be endless
    if len(values) != count:
        got = "more" if len(values) > count else len(values)
        raise ValueError(f"a packed mask must hold {count} bytes, got {got}.")
    return np.frombuffer(values, dtype=dtype).reshape(shape)


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
