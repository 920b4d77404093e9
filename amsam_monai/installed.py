"""The bundles of the package amsam-monai-bundles: where pip put them, and how to get a whole one again."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from amsam_monai.version import __version__

DISTRIBUTION, FOLDER = "amsam-monai-bundles", "amsam_monai_bundles"
WHEEL = f"{FOLDER}-{__version__}-py3-none-any.whl"


def installed_bundles() -> Path | None:
    """The folder of the installed bundles, or None. Nothing of the package is imported: it holds no Python."""
    try:
        folder = Path(str(distribution(DISTRIBUTION).locate_file(FOLDER))).resolve()
    except PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None


def is_installed(path: str | os.PathLike[str]) -> bool:
    """Whether a path is among the installed bundles, which pip alone may write to."""
    folder = installed_bundles()
    return folder is not None and Path(path).resolve().is_relative_to(folder)


def remedy(path: str | os.PathLike[str], otherwise: str) -> str:
    """What to do about a damaged file: install the bundles again where it is one of theirs, `otherwise` elsewhere."""
    return f"Install the bundles again: pip install --force-reinstall {WHEEL}" if is_installed(path) else otherwise
