"""How far a training is, in a file: it runs in a process of its own, and the server is asked for it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from amsam_monai.data.files.atomic import whole_file


class TrainingProgress:
    """Written by the training, read by the server; the words are those that 3D Slicer and OHIF look for.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._start = time.time()
        self._facts: dict[str, Any] = {}

    def begin(self, epochs: int, score: float | None = None) -> None:
        """A training of so many epochs starts, from weights of this score."""
        self._start = time.time()
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._start))
        self._facts = {"epoch": 0, "total_epochs": epochs, "start_ts": began, "process": os.getpid()}
        self._write(score)

    def epoch(self, epoch: int, epochs: int, loss: float, score: float | None = None) -> None:
        """An epoch is over."""
        self._facts |= {"epoch": epoch, "total_epochs": epochs, "loss": round(loss, 5)}
        self._write(score)

    def end(self, score: float | None = None, **facts: Any) -> None:
        """The training is over; `facts` stay beside what was told before."""
        self._facts |= {**facts, "total_time": round(time.time() - self._start, 1)}
        self._write(score)

    def read(self) -> dict[str, Any]:
        """What was written last, empty for nothing; a training whose process is gone counts as over."""
        try:
            facts: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if "total_time" not in facts and not _runs(int(facts.get("process", 0))):
            facts["total_time"] = "stopped"
        return facts

    def _write(self, score: float | None) -> None:
        if score is not None:
            self._facts |= {"metric": round(score, 4)}
            self._facts["best_metric"] = max(self._facts["metric"], self._facts.get("best_metric", 0.0))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path) as partial:
            partial.write_text(json.dumps(self._facts), encoding="utf-8")


def _runs(process: int) -> bool:
    import psutil

    return process > 0 and bool(psutil.pid_exists(process))
