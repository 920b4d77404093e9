"""`amsam doctor`: what is here, what is missing, and the command that mends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(add_completion=False)

SIGNS = {"ok": "ok  ", "optional": "-   ", "failed": "FAIL"}


@app.command()
@plain_errors
def doctor(
    report: Annotated[
        Path | None,
        typer.Option(help="Also write it as JSON, without names of users, for a question to the developers."),
    ] = None,
) -> None:
    """Check packages, weights, bundles, devices, folders and ports. The exit code is 1 where one fails."""
    from amsam_monai import __version__
    from amsam_monai.data.files.atomic import whole_file
    from amsam_monai.doctor import machine, models, packages

    typer.echo(
        f"amsam_monai {__version__}    ok: fine   {SIGNS['optional'].strip()}: optional, not here   FAIL: to mend"
    )
    found = []
    for checks in (
        [packages.python()],
        packages.packages(),
        machine.devices(),
        machine.folders(),
        machine.ports(),
        models.weights(),
        models.bundles(),
    ):
        for check in checks:
            found.append(check)
            typer.echo(f"{SIGNS[check.state]} {check.topic:9} {check.name}: {check.found}")
            if check.mend and check.state != "ok":
                typer.echo(f"               -> {check.mend}")
    if report is not None:
        content = {"amsam_monai": __version__, "checks": [check.without_names() for check in found]}
        with whole_file(report) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    failed = [check.name for check in found if check.state == "failed"]
    typer.echo(f"{len(failed)} to mend: {', '.join(failed)}" if failed else "All that is needed is here.")
    if failed:
        raise typer.Exit(1)
