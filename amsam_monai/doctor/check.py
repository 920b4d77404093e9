"""One thing that was looked at."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

STATES = ("ok", "optional", "failed")


@dataclass(frozen=True)
class Check:
    """What was found of one thing.

    Args:
        topic: what it belongs to: "packages", "weights", ...
        name: what was looked at.
        state: "ok"; "optional", missing but not needed by all; or "failed".
        found: what there is, in a few words.
        mend: the command or step that mends it; "" where nothing is to be done.
    """

    topic: str
    name: str
    state: str
    found: str
    mend: str = ""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state must be one of {STATES}, got {self.state!r}.")

    def without_names(self) -> dict[str, Any]:
        """As plain values for a report that leaves the machine: the home folder is ~."""
        home = str(Path.home())
        return {key: value.replace(home, "~") if home != os.sep else value for key, value in asdict(self).items()}
