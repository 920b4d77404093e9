"""Where a bundle is, so that its configs run from any working directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from amsam_monai.installed import WHEEL, installed_bundles, is_installed

METADATA = Path("configs") / "metadata.json"
HOW_TO_GET = f"install them (pip install {WHEEL}), or set AMSAM_BUNDLES to a folder of bundles"


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

    A name is looked for in $AMSAM_BUNDLES, in ./bundles, beside the source of a package that is installed from its
    folder, and among the bundles that amsam-monai-bundles installs.

    Raises:
        FileNotFoundError: there is no such bundle; the message lists those that are there.
    """
    for shelf in (Path("."), *_shelves()):
        if (shelf / name / METADATA).is_file():
            return (shelf / name).resolve()
    there = ", ".join(sorted(root.name for root in bundles_here()))
    hint = f"Give its path, or one of: {there}." if there else f"No bundles are here: {HOW_TO_GET}."
    raise FileNotFoundError(f"there is no bundle {name} (a folder with configs/metadata.json). {hint}")


def bundles_here() -> list[Path]:
    """Folders of the bundles that `find_bundle` finds by name, the first of each name, sorted."""
    found: dict[str, Path] = {}
    for shelf in _shelves():
        for file in shelf.glob(f"*/{METADATA}"):
            found.setdefault(file.parents[1].name, file.parents[1].resolve())
    return [found[name] for name in sorted(found)]


def work_folder(root: str | os.PathLike[str]) -> str:
    """Where a bundle's runs look for data and write results unless told: the bundle, or ./NAME where it is installed.

    Args:
        root: folder of the bundle.
    """
    return str(Path(root).name if is_installed(root) else root)


def _shelves() -> list[Path]:
    """Folders of bundles, see `find_bundle`."""
    told, source, installed = os.environ.get("AMSAM_BUNDLES"), Path(__file__).resolve().parents[2], installed_bundles()
    shelves = [Path(told)] if told else []
    shelves += [Path("bundles"), *([source / "bundles"] if (source / "pyproject.toml").is_file() else [])]
    return [*shelves, *([installed] if installed else [])]
