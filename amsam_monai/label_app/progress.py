"""How far a training is, in a file: it runs in a process of its own, and the server is asked for it."""

from __future__ import annotations

import json
import math
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from amsam_monai.data.files.atomic import whole_file


class TrainingProgress:
    """Written by the training, read by the server; the words are those of MONAI Label's own trainings.

    Beside epoch, total_epochs, start_ts and best_metric there are current_time, which is total_time once it is over,
    train#metrics#loss, and eval with metrics#dice, key_metric_name, best_metric and best_metric_epoch. 3D Slicer shows
    epoch, total_epochs and best_metric.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._start = time.monotonic()  # the clock may be set meanwhile
        self._facts: dict[str, Any] = {}

    def begin(self, epochs: int, score: float | None = None) -> None:
        """A training of so many epochs starts, from weights of this score."""
        self._start = time.monotonic()
        began = time.strftime("%Y-%m-%d %H:%M:%S")
        who = {"process": os.getpid(), "process_began": began_of(os.getpid())}
        self._facts = {"epoch": 0, "total_epochs": epochs, "start_ts": began, **who}
        self._write(score)

    def epoch(self, epoch: int, epochs: int, loss: float, score: float | None = None) -> None:
        """An epoch is over; `score` is the Dice on cases left out, None where they were not looked at."""
        train = {"metrics": {"loss": round(loss, 5)}} if math.isfinite(loss) else {}
        self._facts |= {"epoch": epoch, "total_epochs": epochs, "train": train}
        self._write(score)

    def end(self, score: float | None = None, **facts: Any) -> None:
        """The training is over; `facts` stay beside what was told before."""
        self._facts |= {**facts, "total_time": self._passed()}
        self._write(score)

    def read(self) -> dict[str, Any]:
        """What was written last, empty for nothing; a training whose process is gone counts as over."""
        try:
            facts: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if "total_time" not in facts and not _runs(facts):
            facts["total_time"] = "stopped"
        return facts

    def _write(self, score: float | None) -> None:
        if score is not None:
            self._judge(round(score, 4))
        self._facts.pop("current_time", None)
        if "total_time" not in self._facts:
            self._facts["current_time"] = self._passed()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path) as partial:
            partial.write_text(json.dumps(self._facts), encoding="utf-8")

    def _judge(self, score: float) -> None:
        """Note a score of the epoch that is over; weights before the first are those of epoch 0."""
        best = self._facts.get("eval", {"best_metric": -1.0, "best_metric_epoch": 0})
        if score > best["best_metric"]:
            best = {"best_metric": score, "best_metric_epoch": self._facts.get("epoch", 0)}
        self._facts["eval"] = {
            "metrics": {"dice": score},
            "key_metric_name": "dice",
            "best_metric": best["best_metric"],
            "best_metric_epoch": best["best_metric_epoch"],
        }
        self._facts["best_metric"] = best["best_metric"]

    def _passed(self) -> str:
        return str(timedelta(seconds=round(time.monotonic() - self._start)))


def began_of(process: int) -> float | None:
    """When a process began, in seconds after the system did, whatever the clock is set to; None where it is gone.

    A number is given to another process later, and this tells the two apart.
    """
    import psutil

    start = psutil.boot_time()
    try:
        found = psutil.Process(process)
        if found.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(round(found.create_time() - start, 2))
    except psutil.Error:
        return None


def _runs(facts: dict[str, Any]) -> bool:
    """Whether the process that wrote a file is alive."""
    process, began = facts.get("process"), facts.get("process_began")
    return isinstance(process, int) and process > 0 and began is not None and began_of(process) == began
