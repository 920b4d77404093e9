"""What lies in the embedding cache, and clearing it; other processes may write and clear meanwhile."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amsam_monai.data.embeddings.folder import DESCRIPTION, cache_folder, entries


@dataclass(frozen=True)
class CacheContents:
    """What a cache folder holds of one encoder.

    Args:
        folder: where.
        fingerprint: what the embeddings depend on.
        entries: how many embeddings.
        size: bytes.
    """

    folder: Path
    fingerprint: dict[str, Any]
    entries: int
    size: int


def cache_contents(folder: str | os.PathLike[str] | None = None) -> list[CacheContents]:
    """What the cache holds, encoder by encoder; encoders without embeddings are left out."""
    contents = []
    for description in sorted(cache_folder(folder).glob(f"*/{DESCRIPTION}")):
        sizes = [status.st_size for _, status in entries(description.parent)]
        if sizes:
            fingerprint = json.loads(description.read_text(encoding="utf-8"))
            contents.append(CacheContents(description.parent, fingerprint, len(sizes), sum(sizes)))
    return contents


def clear_cache(folder: str | os.PathLike[str] | None = None, *, older_than_s: float = 0.0) -> tuple[int, int]:
    """Remove embeddings, nothing else that lies there; (number, bytes) removed.

    Folders stay, since another process may be about to write into them.

    Args:
        folder: see `cache_folder`.
        older_than_s: leave what was written within these seconds.
    """
    number = size = 0
    for description in cache_folder(folder).glob(f"*/{DESCRIPTION}"):
        for path, status in entries(description.parent):
            if time.time() - status.st_mtime >= older_than_s:
                path.unlink(missing_ok=True)
                number, size = number + 1, size + status.st_size
        for path, status in entries(description.parent, ".partial-*"):
            if time.time() - status.st_mtime > 3600:  # of a process that was killed; a living one is quicker
                path.unlink(missing_ok=True)
    return number, size
