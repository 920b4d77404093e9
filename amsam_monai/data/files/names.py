"""Names of files and cases: one order, one spelling."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from amsam_monai.data.files.images import stem_of


def natural_key(text: str) -> tuple[Any, ...]:
    """Sorting key that puts case 9 before case 10."""
    parts = re.split(r"(\d+)", text.casefold())
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), text


def same_name(text: str) -> str:
    """The text in one Unicode form, so that names written on different systems meet."""
    return unicodedata.normalize("NFC", text)


def result_stems(inputs: Sequence[Path], root: Path) -> dict[Path, Path]:
    """Where the results of images below a folder go, relative to the folder of results and without an ending.

    Subfolders are kept. Two images of one name (a.png, a.jpg) get their endings into the names of their results, and a
    number where that name is another's too. No two results have one name, not even where neither case nor the form
    of an accent counts.

    Args:
        inputs: files and DICOM folders at or below `root`.
        root: the folder, or the one input itself.
    """
    stems = {path: relative_stem(path, root) for path in inputs}
    counts = Counter(_key(stem) for stem in stems.values())
    taken = {key for key, count in counts.items() if count == 1}
    for path, stem in stems.items():
        if counts[_key(stem)] > 1:
            stems[path] = _free(stem.with_name(path.name.replace(".", "_")), taken)
            taken.add(_key(stems[path]))
    return stems


def _free(stem: Path, taken: Collection[str]) -> Path:
    """The stem, with the first number that makes it one of its own."""
    numbered = (stem.with_name(f"{stem.name}_{number}") for number in count(2))
    return next(one for one in chain([stem], numbered) if _key(one) not in taken)


def _key(stem: Path) -> str:
    """What two names have in common that are one on some disk."""
    return same_name(str(stem)).casefold()


def relative_stem(path: Path, root: Path) -> Path:
    """Subfolder and name of an input without its ending; a DICOM folder's whole name."""
    name = path.name if path.is_dir() else stem_of(path)
    return Path(name) if path == root else path.parent.relative_to(root) / name
