"""Pixels that a person painted or erased by hand: they hold whatever the network answers.

A slice's are int16 (H, W): k is painted as class k, -k erased from class k, 0 left to the network.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def with_track(
    painted: np.ndarray | None, plane: np.ndarray, index: int, track: np.ndarray, *, erase: bool
) -> np.ndarray:
    """What is painted in a slice, with a class painted or erased where a brush was.

    An eraser takes away its class alone: pixels of other classes stay.

    Args:
        painted: before; None is nothing.
        plane: class indices of the slice.
        index: class.
        track: where the brush was.
        erase: take the class away instead.

    Shape: all (H, W).
    """
    marks = np.zeros(plane.shape, dtype=np.int16) if painted is None else painted.copy()
    if erase:
        marks[track & ((plane == index) | (marks == 0))] = -index
    else:
        marks[track] = index
    return marks


def put_on(plane: np.ndarray, painted: np.ndarray) -> None:
    """Bring a slice's class indices, in place, to what was painted. Shape: both (H, W)."""
    np.copyto(plane, painted, where=painted > 0, casting="unsafe")
    plane[(painted < 0) & (plane == -painted)] = 0


def classes_of(painted: np.ndarray) -> set[int]:
    """Classes that were painted or erased."""
    return {abs(int(value)) for value in np.unique(painted) if value}


def without_classes(painted: np.ndarray, classes: Iterable[int]) -> np.ndarray:
    """What is painted, without that of some classes."""
    return np.where(np.isin(np.abs(painted), list(classes)), 0, painted).astype(np.int16)
