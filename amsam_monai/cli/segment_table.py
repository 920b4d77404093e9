"""What `amsam segment` prints of a run: a table of the first inputs, failures, warnings and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from amsam_monai.segment.batch_report import Record

SHOWN_CASES = 20
SHOWN_CLASSES = 4
UNITS = {"ml": "ml", "mm2": "mm²"}
WHOLE_LINES = 10_000  # columns of what is no terminal: a file or a pipe gets names whole


def show(records: Sequence[Record], report: Path) -> None:
    """Print failures, a table of the first inputs, and the counts."""
    from rich.console import Console

    from amsam_monai.segment.batch_report import ABSENT

    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = WHOLE_LINES
    console.print(table_of(records[:SHOWN_CASES]), soft_wrap=False)
    if len(records) > SHOWN_CASES:
        console.print(f"... and {len(records) - SHOWN_CASES} more")
    for record in records:
        if record.status == "failed":
            console.print(f"failed: {record.input}: {record.error}", style="red", markup=False, highlight=False)
        for note in record.notes if len(records) <= SHOWN_CASES else ():
            console.print(f"note: {record.input}: {note}", markup=False, highlight=False)
        for warning in record.warnings if len(records) <= SHOWN_CASES and record.status == "done" else ():
            if not warning.startswith(ABSENT):  # the table says so
                console.print(f"warning: {record.input}: {warning}", style="yellow", markup=False, highlight=False)
    counts = Counter(record.status for record in records)
    numbers = f"{counts['done']} segmented, {counts['skipped']} skipped, {counts['failed']} failed"
    console.print(f"{numbers}; report: {report}", markup=False, highlight=False)


def table_of(records: Sequence[Record]) -> Table:
    """Inputs with a line for each class; of many classes those with the lowest quality, or the first."""
    from rich.markup import escape
    from rich.table import Table

    from amsam_monai.segment.batch_report import told

    judged = any(record.quality for record in records)
    table = Table(box=None, pad_edge=False)
    table.add_column("input", overflow="ellipsis", min_width=10)
    for name in ("result", "seconds"):
        table.add_column(name, no_wrap=True)
    table.add_column("class", overflow="ellipsis", min_width=6)
    for name in (*(["quality"] if judged else []), "size"):
        table.add_column(name, no_wrap=True)
    for record in records:
        names, hidden = classes_of(record), len(record.labels) - SHOWN_CLASSES
        head = [Path(record.input).name, record.status, "" if record.seconds is None else f"{record.seconds:.1f}"]
        for name in names[:SHOWN_CLASSES] or [""]:
            quality = [told(record.quality[name]["case"]) if name in record.quality else ""] if judged else []
            table.add_row(*map(escape, [*head, name]), *quality, size_of(record.labels[name]) if name else "")
            head = [""] * len(head)
        if hidden > 0:
            table.add_row(*head, f"{hidden} more")
    return table


def classes_of(record: Record) -> list[str]:
    """Classes in their order; where there are more than are shown, those with the lowest quality first."""
    if len(record.labels) <= SHOWN_CLASSES:
        return list(record.labels)
    found = record.quality
    return sorted(record.labels, key=lambda name: found[name]["case"][0] if name in found else 1.0)


def size_of(found: Mapping[str, Any]) -> str:
    """Size of a class: millilitres, square millimetres of a picture, or else voxels or pixels."""
    if not any(found.values()):
        return "none"
    measured = [f"{found[key]:.2f} {unit}" for key, unit in UNITS.items() if found.get(key) is not None]
    return (measured + [f"{found[key]} {key}" for key in ("voxels", "pixels") if key in found])[0]
