"""A table as plain text, for commands that start at once; rich takes longer to import than they take to run."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under headings, in columns as wide as their longest entry; numbers stand to the right.

    Raises:
        ValueError: a row of another length than the headings.
    """
    if wrong := next((row for row in rows if len(row) != len(headings)), None):
        raise ValueError(f"a row must have {len(headings)} entries, got {len(wrong)}: {list(wrong)}.")
    widths = [max(len(row[at]) for row in (headings, *rows)) for at in range(len(headings))]
    right = [bool(rows) and all(_is_number(row[at]) for row in rows) for at in range(len(headings))]
    lines = [
        "  ".join(
            entry.rjust(width) if to_right else entry.ljust(width)
            for entry, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (headings, *rows)
    ]
    return "\n".join(lines)


def _is_number(text: str) -> bool:
    return text in ("?", "-") or text.replace(".", "", 1).isdigit()
