"""`amsam convert KIND IN OUT`: a published checkpoint becomes an adapter of ours, files of before present ones."""

from __future__ import annotations

import shutil
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from amsam_monai.cli.errors import plain_errors

app = typer.Typer(add_completion=False)


class Kind(str, Enum):
    """Published layouts, and our own of before."""

    bundle = "bundle"
    detector = "detector"

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
    kind: Annotated[Kind, typer.Argument(help="Whose layout IN has; bundle and detector are our own, of before 0.2.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="The checkpoint; of `bundle` its folder or name.")],
    target: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="The file to write; a bundle's files change where they are.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
) -> None:
    """Convert a published checkpoint to {"model": adapter}, or bring files of before 0.2 over to the present format.

    The adapter holds what training changed; the frozen rest is Segment Anything's own (`amsam weights fetch`). It gets
    its settings from the bundle into which it is put, by bundle BUNDLE. A bundle
    of before gets the settings of its configuration into models/model.pt: bundle BUNDLE. A detector: detector IN OUT.
    """
    if kind is Kind.bundle:
        convert_bundle(source, target)
        return
    if kind is Kind.detector:
        convert_detector(source, target, overwrite)
    else:
        convert_published(kind, source, _to_write(target, overwrite))


def _to_write(target: Path | None, overwrite: bool) -> Path:
    """OUT, where it may be written."""
    from amsam_monai.data.files.atomic import check_writable

    if target is None:
        raise ValueError("OUT must name the file to write, got none.")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is already there; give --overwrite to replace it.")
    check_writable(target.parent)
    return target


def convert_detector(source: Path, target: Path | None, overwrite: bool) -> None:
    """Bring a detector over; one in the present format is copied, unless IN is OUT."""
    from amsam_monai.data.files.atomic import whole_file
    from amsam_monai.networks.convert.detector import bring_over_detector, is_current_detector

    if not is_current_detector(source):
        bring_over_detector(source, target := _to_write(target, overwrite))
        typer.echo(f"{target}: a detector in the present format")
        return
    typer.echo(f"{source}: in the present format already")
    if target is not None and target.resolve() != source.resolve():
        with whole_file(_to_write(target, overwrite)) as part:
            shutil.copyfile(source, part)
        typer.echo(f"{target}: a copy of it")


def convert_bundle(source: Path, target: Path | None) -> None:
    """Bring a bundle's files over where they are."""
    from amsam_monai.bundles.bring_over import bring_over
    from amsam_monai.bundles.find import find_bundle

    if target is not None:
        raise ValueError(f"bundle must come without OUT, since its files change where they are; got {target}.")
    root = find_bundle(source)
    for path in (written := bring_over(root)):
        typer.echo(f"{path}: in the present format, weights unchanged")
    if not written:
        typer.echo(f"{root}: in the present format already")


def convert_published(kind: Kind, source: Path, target: Path) -> None:
    """A published checkpoint as an adapter."""
    import torch

    from amsam_monai.data.files.atomic import whole_file
    from amsam_monai.networks import convert as converters
    from amsam_monai.networks.weights.store import load_weights

    name, prefix, system = CONVERTERS[kind]
    state = getattr(converters, name)(load_weights(source))
    adapter = {prefix + key: value.detach().clone() for key, value in state.items()}
    with whole_file(target) as part:
        torch.save({"model": adapter}, part)
    count = sum(value.numel() for value in adapter.values())
    typer.echo(f"{target}: {len(adapter)} tensors, {count:,} numbers, for {system}")
    typer.echo(
        "It has no settings yet: put it into a bundle of that network as models/model.pt and give it the bundle's by "
        "`amsam convert bundle BUNDLE`; in Python, net.load_adapter_state_dict takes it as it is."
    )
