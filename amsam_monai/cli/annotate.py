"""`amsam annotate`: the web page for looking, clicking and correcting."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(add_completion=False)


@app.command()
@plain_errors
def annotate(
    path: Annotated[Path | None, typer.Argument(help="An image, a volume, or a folder of them.")] = None,
    bundle: Annotated[
        str, typer.Option("--bundle", "-b", help="Bundle: a path or a name.")
    ] = "isic_amsam_segmentation",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for label maps.")] = Path("annotations"),
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 7860,
    token: Annotated[str, typer.Option(envvar="AMSAM_TOKEN", help="Ask browsers for this: ADDRESS/?token=TOKEN.")] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen on another address than this machine's own without a token.")
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Name under which browsers may reach the page; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ... [default: the bundle's].")] = "",
    flips: Annotated[
        bool,
        typer.Option(help="Average over mirror images where the bundle does; without, clicks are 2-4 times faster."),
    ] = True,
) -> None:
    """Open the web page for interactive segmentation, on this machine alone by default."""
    if find_spec("gradio") is None:
        raise ImportError("gradio must be installed for the web page: pip install gradio")
    from amsam_monai.annotate.app import build_page
    from amsam_monai.annotate.hosting import serve
    from amsam_monai.annotate.workbench import find_files
    from amsam_monai.bundles.load import load_bundle
    from amsam_monai.data.files.atomic import check_writable
    from amsam_monai.gate import GateOptions, check_address

    check_address(host, token, insecure, "browsers open ADDRESS/?token=TOKEN once")
    files = find_files(path) if path else []
    check_writable(out)
    loaded = load_bundle(bundle, device=device or None)
    if not flips:
        loaded.slices = {**loaded.slices, "flips": ()}
    out = out.resolve()
    page = build_page(loaded, [file.resolve() for file in files], out)
    typer.echo(f"{len(files)} case(s); the page is at http://{host}:{port} (Ctrl+C ends it); label maps go to {out}")
    serve(page, host=host, port=port, allowed=[out], gate=GateOptions((*(allow_host or []), host), token=token))
