"""`amsam bundle build|list|path`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Build bundles from recipes, list them, and find them."
)


@app.command()
@plain_errors
def build(
    recipe: Annotated[str, typer.Argument(help="A name of `amsam bundle list`, or a recipe file of your own.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the bundle; its models/ stays as it is.")],
) -> None:
    """Write a bundle: configs, metadata, model card, licence."""
    from amsam_monai.bundles.build import build_bundle

    typer.echo(build_bundle(recipe, out))


@app.command("list")
@plain_errors
def list_() -> None:
    """Recipes, and the bundles that are here with their versions."""
    import json

    from amsam_monai.bundles.find import HOW_TO_GET, METADATA, bundles_here
    from amsam_monai.bundles.recipes import recipe_names

    typer.echo("recipes:")
    for name in recipe_names():
        typer.echo(f"  {name}")
    found = bundles_here()
    typer.echo("bundles:" if found else f"bundles: none are here; {HOW_TO_GET}")
    for root in found:
        version = json.loads((root / METADATA).read_text(encoding="utf-8")).get("version", "?")
        trained = "trained" if (root / "models" / "model.pt").is_file() else "not trained"
        typer.echo(f"  {root.name} {version}, {trained}: {root}")


@app.command()
@plain_errors
def path(name: Annotated[str, typer.Argument(help="Name of a bundle.")]) -> None:
    """Where a bundle is."""
    from amsam_monai.bundles.find import find_bundle

    typer.echo(find_bundle(name))
