"""Names of files and cases: one order, one spelling."""

from __future__ import annotations

import re
import unicodedata
from typing import Any


def natural_key(text: str) -> tuple[Any, ...]:
    """Sorting key that puts case 9 before case 10."""
    parts = re.split(r"(\d+)", text.casefold())
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), text


def same_name(text: str) -> str:
    """The text in one Unicode form, so that names written on different systems meet."""
    return unicodedata.normalize("NFC", text)
