"""`amsam cache info|clear`: the embedding cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amsam_monai.cli.errors import plain_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amsam_monai.data.embeddings.contents import CacheContents

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Show or clear the embedding cache.")

Folder = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of the cache [default: $AMSAM_CACHE or ~/.cache/amsam_monai/embeddings]."),
]


@app.command()
@plain_errors
def info(folder: Folder = None) -> None:
    """How much lies there, encoder by encoder."""
    from amsam_monai.data.embeddings.contents import cache_contents
    from amsam_monai.data.embeddings.folder import cache_folder

    contents = cache_contents(folder)
    if contents:
        show(contents)
    entries, size = sum(part.entries for part in contents), sum(part.size for part in contents)
    typer.echo(f"{cache_folder(folder)}: {entries} embeddings, {size / 2**20:.1f} MiB")


def show(contents: Sequence[CacheContents]) -> None:
    """Print what each encoder has."""
    from amsam_monai.cli.text_table import text_table

    rows = []
    for part in contents:
        facts = [str(part.fingerprint.get(name, "-")) for name in ("encoder", "image_size", "resize", "dtype")]
        weights = str(part.fingerprint.get("weights_sha256", "-"))[:8]
        rows.append((part.folder.name, *facts, weights, str(part.entries), f"{part.size / 2**20:.1f}"))
    headings = ("folder", "encoder", "size", "resize", "dtype", "weights", "embeddings", "MiB")
    typer.echo(text_table(headings, rows))


@app.command()
@plain_errors
def clear(
    folder: Folder = None,
    older_than: Annotated[float, typer.Option(help="Leave what was written within this many days.", min=0)] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove embeddings; they are computed again when they are needed."""
    from amsam_monai.data.embeddings.contents import cache_contents, clear_cache
    from amsam_monai.data.embeddings.folder import cache_folder

    size = sum(part.size for part in cache_contents(folder))
    if size and not yes:
        which = f"embeddings older than {older_than:g} days" if older_than else "all embeddings"
        typer.confirm(f"Remove {which} in {cache_folder(folder)} ({size / 2**20:.1f} MiB)?", abort=True)
    number, removed = clear_cache(folder, older_than_s=older_than * 86400)
    typer.echo(f"removed {number} embeddings, {removed / 2**20:.1f} MiB")
