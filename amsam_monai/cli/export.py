"""`amsam export BUNDLE OUT`: a bundle as graphs for other runtimes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(add_completion=False)


class FormatName(str, Enum):
    """What graphs are written in."""

    onnx = "onnx"
    torchscript = "torchscript"
    openvino = "openvino"


@app.command()
@plain_errors
def export(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle by name or path, or a model.pt.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder.")],
    format: Annotated[FormatName, typer.Option(help="What the graphs are written in.")] = FormatName.onnx,
    light: Annotated[bool, typer.Option("--light", help="AutoSAM without SAM's decoder: h(g(I)), one file.")] = False,
    no_dark_object: Annotated[
        bool, typer.Option("--no-dark-object", help="AM-SAM for skin lesions: the masks of the network alone.")
    ] = False,
) -> None:
    """Write a bundle for other runtimes: encoder, automatic and prompted masks, and a settings.json.

    Each file is compared with PyTorch; where one differs by more than 0.001, nothing is written. Run ONNX files without
    torch by `python -m amsam_monai.runtime OUT IMAGE MASK`.
    """
    from amsam_monai.graphs.export import export as write

    changes: dict[str, Any] = {}
    if light:
        changes["arguments"] = {"light": True}
    if no_dark_object:
        changes.setdefault("arguments", {})["dark_object_weight"] = 0.0
        changes["detector"] = {"snap_to_dark_object": False}
    done = write(bundle, out, format=format.value, settings=changes or None)
    for file, difference in done.differences.items():
        size = (out / file).stat().st_size / 1e6
        typer.echo(f"{out / file}: {size:.1f} MB, within {difference:.1e} of PyTorch")
    for name, reason in done.left_out.items():
        typer.echo(f"no {name}: {reason}")
    typer.echo(out / "settings.json")
