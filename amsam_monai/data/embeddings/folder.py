"""Where embeddings lie, one folder for each encoder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

DESCRIPTION = "fingerprint.json"


def cache_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder of embeddings: `folder`, else $AMSAM_CACHE, else ~/.cache/amsam_monai/embeddings."""
    return Path(folder or os.environ.get("AMSAM_CACHE") or Path.home() / ".cache" / "amsam_monai" / "embeddings")


def entries(folder: Path, pattern: str = "*.safetensors") -> Iterator[tuple[Path, os.stat_result]]:
    """Files of one encoder's folder, none that a link leads to; those that are cleared meanwhile are left out."""
    if folder.is_symlink():
        return
    for path in list(folder.glob(f"??/{pattern}")):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode) and not path.parent.is_symlink():
            yield path, status
