"""`amsam convert KIND IN OUT`: a published checkpoint becomes an adapter of ours."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(add_completion=False)


class Kind(str, Enum):
    """Published layouts."""

    aisam = "aisam"
    autosam = "autosam"
    blosam = "blosam"
    samed = "samed"


# KIND -> function of amsam_monai.networks.convert, what its names lack of the system's, and that system
CONVERTERS = {
    Kind.aisam: ("aisam_checkpoint", "", 'AISAM(build_sam("vit_h"), num_classes=K)'),
    Kind.autosam: ("autosam_state_dict", "generator.", 'AutoSAM(build_sam("vit_h"), PromptGenerator("hardnet85"))'),
    Kind.blosam: (
        "blosam_state_dict",
        "",
        'AMSAM(build_sam("vit_b", image_size=256, normalise=False), num_classes=K, resize="stretch", joint=True, '
        'calibration="none")',
    ),
    Kind.samed: (
        "samed_state_dict",
        "",
        'AMSAM(build_sam("vit_b", image_size=512, normalise=False), num_classes=K, resize="stretch", joint=True, '
        'calibration="none", lora_rank=0, encoder_lora_rank=4, decoder="all")',
    ),
}


@app.command()
@plain_errors
def convert(
    kind: Annotated[Kind, typer.Argument(help="Whose layout the checkpoint has.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="The published checkpoint.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The adapter to write, as a bundle's models/model.pt.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
) -> None:
    """Convert a published checkpoint to {"model": adapter}, as bundles have it.

    The adapter holds what training changed; the frozen rest is Segment Anything's own (`amsam weights fetch`).
    """
    import torch

    from amsam_monai.networks import convert as converters
    from amsam_monai.networks.weights.store import load_weights

    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is already there; give --overwrite to replace it.")
    name, prefix, system = CONVERTERS[kind]
    state = getattr(converters, name)(load_weights(source))
    adapter = {prefix + key: value.detach().clone() for key, value in state.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        torch.save({"model": adapter}, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    count = sum(value.numel() for value in adapter.values())
    typer.echo(f"{target}: {len(adapter)} tensors, {count:,} numbers, for {system}")
