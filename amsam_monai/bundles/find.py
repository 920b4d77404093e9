"""Where a bundle is, so that its configs run from any working directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

METADATA = Path("configs") / "metadata.json"


def bundle_root(name: str) -> str:
    """The folder of the bundle whose config is running, else of the bundle called `name`.

    MONAI evaluates configs relative to the working directory and does not tell them where they are. So the folder is
    sought in this order: the config files named on the command line, the working directory, `find_bundle(name)`.

    Args:
        name: folder name of the bundle.

    Raises:
        FileNotFoundError: the bundle is nowhere.
    """
    files = [Path(part.strip("[]'\" ")) for argument in sys.argv[1:] for part in argument.split("=")[-1].split(",")]
    for root in [file.resolve().parent.parent for file in files if file.suffix in (".yaml", ".json")] + [Path.cwd()]:
        if (root / METADATA).is_file():
            return str(root)
    return str(find_bundle(name))


def find_bundle(name: str | os.PathLike[str]) -> Path:
    """The folder of a bundle, given as a path or by name.

    A name is looked for in $AMSAM_BUNDLES, in ./bundles, and beside the installed package's source.

    Raises:
        FileNotFoundError: there is no such bundle; the message lists those that are there.
    """
    for shelf in (Path("."), *_shelves()):
        if (shelf / name / METADATA).is_file():
            return (shelf / name).resolve()
    there = sorted(root.name for root in bundles_here())
    raise FileNotFoundError(
        f"there is no bundle {name} (a folder with configs/metadata.json). "
        f"Give its path, or one of: {', '.join(there) or 'none found; set AMSAM_BUNDLES to the folder of bundles'}."
    )


def bundles_here() -> list[Path]:
    """Folders of the bundles that `find_bundle` finds by name, the first of each name, sorted."""
    found: dict[str, Path] = {}
    for shelf in _shelves():
        for file in shelf.glob(f"*/{METADATA}"):
            found.setdefault(file.parents[1].name, file.parents[1].resolve())
    return [found[name] for name in sorted(found)]


def _shelves() -> list[Path]:
    """Folders of bundles: $AMSAM_BUNDLES, ./bundles, and the one beside the installed package's source."""
    told = os.environ.get("AMSAM_BUNDLES")
    return [*([Path(told)] if told else []), Path("bundles"), Path(__file__).resolve().parents[2] / "bundles"]
