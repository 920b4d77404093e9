"""Errors of a bundle's run in one sentence, without what MONAI and Ignite wrap around them."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

# What a user can mend: a value, a path, a missing package, a file that cannot be read.
USER_ERRORS = (ValueError, TypeError, OSError, ImportError)
LOST_WORKER = "DataLoader worker"
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
TRACEBACK = "AMSAM_TRACEBACK"
LOUD = ("ignite.", "monai.handlers.StatsHandler")  # loggers that tell an engine's error again


def words_for(error: BaseException) -> str | None:
    """What to tell a user of an error that he can mend; None of any other.

    Beside USER_ERRORS these are a lack of memory, here or on a GPU, and a process that prepares samples and died.
    """
    said = str(error)
    if isinstance(error, RuntimeError) and LOST_WORKER in said:
        return f"{said.rstrip('. ')}: most often memory ran out; set workers: 0, or fewer of them, and start again."
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(one in said for one in NO_MEMORY)):
        reason = said.strip().partition("\n")[0].rstrip(". ") or "none is left"
        return f"memory must hold what is computed ({reason}); take a smaller batch or smaller images."
    return said if isinstance(error, USER_ERRORS) else None


def first_cause(error: BaseException) -> BaseException:
    """What a component raised, without the errors that MONAI wraps around it at every level of a config."""
    while isinstance(error.__cause__, Exception) and _raised_in_monai(error):
        error = error.__cause__
    return error


def _raised_in_monai(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0] == "monai"


def end_plainly() -> None:
    """Let `python -m monai.bundle` end in one sentence on a user's error, exit code 1, as `amsam` does.

    Of other errors it shows where the first cause was raised, without what MONAI wraps around it. Does nothing in any
    other process, nor where AMSAM_TRACEBACK is set. A bundle's configs call it first.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None or spec.name != "monai.bundle.__main__" or os.environ.get(TRACEBACK):
        return
    sys.excepthook = _say
    for place in _heard():
        place.addFilter(_is_news)


@contextmanager
def told_once() -> Iterator[None]:
    """Leave out the tracebacks that Ignite and MONAI log of an error in a block, unless AMSAM_TRACEBACK is set."""
    places = [] if os.environ.get(TRACEBACK) else _heard()
    for place in places:
        place.addFilter(_is_news)
    try:
        yield
    finally:
        for place in places:
            place.removeFilter(_is_news)


def _heard() -> list[logging.Filterer]:
    """Where what is logged comes out."""
    from monai.apps.utils import get_logger

    places = (get_logger("monai.handlers.StatsHandler"), *logging.root.handlers, logging.lastResort)
    return [place for place in places if place is not None]


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's last word on an error that nobody caught."""
    cause = first_cause(error)
    sys.stdout.flush()
    words = words_for(cause)
    if words is None:
        traceback.print_exception(cause, chain=False)
        return
    sys.stderr.write(f"\nerror: {type(cause).__name__}: {words} ({TRACEBACK}=1 shows where.)\n")


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record tells more than what the process will end with."""
    return record.levelno < logging.ERROR or not record.name.startswith(LOUD)
