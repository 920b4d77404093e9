"""`amsam label start`: serve bundles to 3D Slicer and OHIF through MONAI Label."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Serve bundles through MONAI Label.")


@app.callback()
def label() -> None:
    """Serve bundles through MONAI Label."""


@app.command()
@plain_errors
def start(
    studies: Annotated[str, typer.Argument(help="Folder of images, volumes and DICOM series, or a DICOMweb address.")],
    bundle: Annotated[
        list[str] | None, typer.Option("--bundle", "-b", help="Bundle to serve: a path or a name; may be repeated.")
    ] = None,
    app_dir: Annotated[
        Path | None,
        typer.Option(help="Copies of bundles, new weights and logs [default: STUDIES/.amsam_label]."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8000,
    device: Annotated[str, typer.Option(help="cpu, cuda, ... [default: the bundle's].")] = "",
    cache_mb: Annotated[int, typer.Option(help="Memory for embeddings.", min=1)] = 512,
    queue: Annotated[
        int, typer.Option(help="Requests that may compute or wait at once; one more gets 429.", min=1)
    ] = 16,
    flips: Annotated[
        bool,
        typer.Option(help="Average over mirror images where the bundle does; without, clicks are 2-4 times faster."),
    ] = True,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            help="DICOMweb: offer series of this modality, such as MR; may be repeated [default: all images]."
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(help="DICOMweb: offer what has this attribute, such as PatientID=17 or StudyDescription=*heart*."),
    ] = None,
    cache_seconds: Annotated[
        float, typer.Option(help="DICOMweb: how long the list of series is taken to hold.", min=0)
    ] = 60,
    token: Annotated[
        str, typer.Option(envvar="AMSAM_LABEL_TOKEN", help="Ask every request for this (Authorization: Bearer TOKEN).")
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen on another address than this machine's own without a token.")
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Name under which browsers may reach the server; may be repeated.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Page of another server that may ask, such as http://localhost:3000.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Copy the bundles anew; what they learned is lost.")] = False,
) -> None:
    """Start the server; 3D Slicer and OHIF connect to its address. Nothing is downloaded."""
    from amsam_monai.data.files.atomic import check_writable
    from amsam_monai.gate import GateOptions, check_address
    from amsam_monai.label_app.launch import check_monailabel, own_folders, prepare_app, server_command

    check_address(host, token, insecure, "pages and scripts can send one; 3D Slicer and OHIF cannot")
    remote = studies.startswith(("http://", "https://"))
    if not remote and not Path(studies).is_dir():
        raise FileNotFoundError(f"{studies}: no such folder; give the folder of your images.")
    if not remote and (modality or search):
        raise ValueError(f"--modality and --search choose among a DICOMweb server's series, got the folder {studies}.")
    if not remote:
        check_writable(studies)  # labels go there
    home = app_dir or (Path("amsam_label") if remote else Path(studies) / ".amsam_label")
    if not bundle and not list(home.glob("model/*/configs/metadata.json")):
        raise ValueError("--bundle must name at least one bundle, got none, and none was served from here before.")
    check_writable(home)
    check_monailabel()
    with own_folders(home, studies):  # looked at here, where it can be told in one line; the server takes them itself
        pass
    folder = prepare_app(home, bundle or [], fresh=fresh)
    (sent := folder.absolute() / "sessions").mkdir(mode=0o700, exist_ok=True)  # what clients send for themselves alone
    os.environ.setdefault("MONAI_LABEL_SESSION_PATH", str(sent))
    conf = {"cache_mb": str(cache_mb)}
    if remote:
        conf |= dicomweb_conf(modality or [], search or [], cache_seconds)
    if device:
        conf["device"] = device
    if not flips:
        conf["flips"] = "false"
    if bundle:
        from amsam_monai.bundles.find import find_bundle

        conf["models"] = ",".join(find_bundle(one).name for one in bundle)
    gate = GateOptions((*(allow_host or []), host), tuple(allow_origin or ()), token)
    os.environ.update({**gate.to_environment(), "AMSAM_LABEL_QUEUE": str(queue)})
    command = server_command(folder, studies, host=host, port=port, conf=conf)
    if os.name == "posix":
        os.execv(command[0], command)  # signals reach the server itself
    raise typer.Exit(subprocess.call(command))


def dicomweb_conf(modalities: list[str], search: list[str], cache_seconds: float) -> dict[str, str]:
    """The settings of a DICOMweb server, as `DicomWebOptions.of_conf` reads them.

    Raises:
        ValueError: a search without "=".
    """
    if wrong := [one for one in search if not one.partition("=")[2]]:
        raise ValueError(f"--search must be ATTRIBUTE=VALUE, got {wrong[0]!r}.")
    attributes = {name: value for name, _, value in (one.partition("=") for one in search)}
    return {
        "modalities": ",".join(modalities),
        "search": json.dumps(attributes),
        "cache_seconds": str(cache_seconds),
    }
