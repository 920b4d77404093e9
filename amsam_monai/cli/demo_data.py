"""`amsam demo-data`: phantom data sets to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(add_completion=False)


@app.command()
@plain_errors
def demo_data(
    kind: Annotated[str, typer.Argument(help="isic (dermoscopy), acdc (heart MR) or synapse (abdominal CT).")],
    out: Annotated[Path, typer.Argument(help="Folder to write; made if missing.")],
    cases: Annotated[int, typer.Option(help="Lesions, or patients.")] = 8,
    seed: Annotated[int, typer.Option(help="Another seed is another population.")] = 0,
    side: Annotated[Optional[int], typer.Option(help="Pixels of the longer side; default: the kind's own.")] = None,  # noqa: UP045
) -> None:
    """Write a phantom data set in a real data set's layout (ISIC, ACDC, Synapse/BTCV). Same seed, same files."""
    from rich.progress import track

    from amsam_monai.phantoms.sets import write_phantoms

    writer = write_phantoms(kind, out, cases=cases, seed=seed, side=side)
    for _ in track(writer, total=cases, description=f"{kind} phantoms", transient=True):
        pass
    typer.echo(f"{cases} {kind} phantom case(s) in {out}")
