"""A command run to its end: seconds, processor time and peak memory, children included."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

POLL_SECONDS, POLL_SHARE = 0.5, 0.03  # between two looks at the memory, and what they may cost of the time
TAIL = 800


class CommandError(RuntimeError):
    """A command that ended with an error; the message holds the end of its log."""


@dataclass(frozen=True)
class Spent:
    """What a command took.

    Args:
        seconds: on the clock.
        processor_seconds: of all cores, children included.
        peak_gb: memory of the command and its children together (GiB); shared pages count once.
    """

    seconds: float
    processor_seconds: float
    peak_gb: float

    def rounded(self) -> dict[str, float]:
        """For JSON."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def run_measured(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Spent:
    """Run a command; what it prints goes to `log`.

    Args:
        command: program and arguments.
        log: file, appended to.
        env: on top of this process's own variables.
        cwd: folder to run in.

    Raises:
        CommandError: it ended with an error.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    before, begun = _processor_seconds(), time.perf_counter()
    with log.open("a", encoding="utf-8") as out:
        print("$", *command, file=out, flush=True)
        child = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, cwd=cwd
        )
        watch = PeakMemory(child.pid)
        try:
            watch.start()
            code = child.wait()
        finally:
            if child.poll() is None:
                _end(child)
            watch.stop()
    if code:
        raise CommandError(f"{' '.join(command[:6])} ... ended with code {code}, see {log}:\n{_tail(log)}")
    return Spent(time.perf_counter() - begun, _processor_seconds() - before, watch.peak / 2**30)


class PeakMemory(threading.Thread):
    """The most memory that a process and its children held together, looked at about twice a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self._ended = pid, 0, threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        pause = POLL_SECONDS
        while not self._ended.wait(pause):
            begun = time.thread_time()
            self.peak = max(self.peak, tree_bytes(self.pid, beyond=self.peak))
            pause = max(POLL_SECONDS, (time.thread_time() - begun) / POLL_SHARE)

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


def tree_bytes(pid: int, *, beyond: int = 0) -> int:
    """Memory of a process and its children.

    Args:
        pid: of the process.
        beyond: pages that several processes share are told apart, which takes long, only where there may be more.
    """
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    resident = sum(_bytes(process, shared=False) for process in processes)
    if len(processes) == 1 or resident <= beyond:
        return resident
    return sum(_bytes(process, shared=True) for process in processes)


def _bytes(process: psutil.Process, *, shared: bool) -> int:
    """Resident bytes; with `shared`, pages that others have too count by their share, where the system tells."""
    try:
        if not shared:
            return int(process.memory_info().rss)
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except (psutil.Error, OSError):  # it ended meanwhile
        return 0


def _processor_seconds() -> float:
    """Of all children that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end(child: subprocess.Popen) -> None:
    """End a command and the children it started."""
    family = [child.pid, *(one.pid for one in psutil.Process(child.pid).children(recursive=True))]
    processes = [psutil.Process(pid) for pid in family if psutil.pid_exists(pid)]
    for process in processes:
        process.terminate()
    psutil.wait_procs(processes, timeout=10)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
