"""The option by which a command hands its cases to a Dask cluster."""

from __future__ import annotations

from typing import Annotated

import typer

Scheduler = Annotated[
    str | None,
    typer.Option(help="Dask: local:2, two processes here; or the address of a scheduler, tcp://HOST:8786."),
]
