"""User errors as one clear line instead of a traceback."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import typer

from amsam_monai.bundles.plain_errors import words_for

Function = TypeVar("Function", bound=Callable[..., Any])


def plain_errors(function: Function) -> Function:
    """Print a user error in one line on standard error and leave with exit code 1.

    A command that gets SIGTERM ends as one that a person interrupts: it still writes its report.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _end)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            words = words_for(error)
            if words is None:
                raise
            from rich.console import Console

            Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
            typer.echo(words, err=True)
            raise typer.Exit(1) from error

    return wrapped  # type: ignore[return-value]


def _end(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
