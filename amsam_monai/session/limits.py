"""How many points one may set: what decodes them grows with the square of their number."""

from __future__ import annotations

import os

MOST_POINTS = 1000
VARIABLE = "AMSAM_MAX_POINTS"  # the limit for all sessions and servers


def most_points() -> int:
    """The environment's limit, or the usual one.

    Raises:
        ValueError: the environment's is no whole number.
    """
    said = os.environ.get(VARIABLE, "")
    if said and not said.isdigit():
        raise ValueError(f"{VARIABLE} must be a whole number, got {said!r}.")
    return int(said) if said else MOST_POINTS


def check_count(what: str, count: int, kind: str = "points") -> None:
    """Refuse more points, or boxes, than the limit.

    Args:
        what: holds them, for the message.
        count: how many there are.
        kind: what they are.

    Raises:
        ValueError: there are more.
    """
    if count > (most := most_points()):
        raise ValueError(f"{what} must hold at most {most} {kind}, got {count}; {VARIABLE} moves the limit.")
