"""The report of a batch: what became of every input, where to look first, and pictures in that order."""

from __future__ import annotations

import csv
import html
import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import stem_of
from amsam_monai.evaluation.report import cell
from amsam_monai.segment.doubt import doubtful_slices, worst
from amsam_monai.segment.segmenter import SegmentedImage

REPORT = "segment_report.json"
SHOWN_SLICES = 5
ABSENT = "nothing found of"  # before the name of a class


@dataclass
class Record:
    """What became of one input; a line of the report. `quality` is as `quality_of` gives it."""

    input: str
    status: str  # done, skipped or failed
    output: str | None = None
    seconds: float | None = None
    shape: list[int] = field(default_factory=list)
    spacing_mm: list[float] | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str | None = None


def warnings_of(result: SegmentedImage, volumes: dict[str, Any]) -> list[str]:
    """Classes that are not there, and what is beyond the limits; where the mask is empty, what became black and white.

    Args:
        result: of an input.
        volumes: of the result.
    """
    absent = [name for name, found in volumes.items() if not any(found.values())]
    if len(absent) < len(volumes):
        return [f"{ABSENT} {name}" for name in absent] + result.warnings
    limits = "" if result.limits is None else f"values {result.limits[0]:.6g} to {result.limits[1]:.6g} became 0 to 1; "
    return [f"the mask is empty; {limits}check that the intensity suits the image", *result.warnings]


def write_report(records: Sequence[Record], path: Path, **facts: Any) -> Path:
    """Write the report of a run as JSON: `facts`, counts per status, and one entry per input, the doubtful first.

    Inputs that were passed over keep what an earlier report at `path` says of them. Where quality is told, a table of
    it lies beside the report as .csv, and where overlays were made, a page of them as .html.
    """
    records = doubtful_first(carry_over(records, path))
    counts = Counter(record.status for record in records)
    report = {
        **facts,
        "counts": {status: counts[status] for status in ("done", "skipped", "failed")},
        "cases": [asdict(record) for record in records],
    }
    with whole_file(path) as partial:
        partial.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if any(record.quality for record in records):
        write_table(records, path.with_suffix(".csv"))
        if any(file.endswith("_overlay.png") for record in records for file in record.files):
            write_pictures(records, path.with_suffix(".html"))
    return path


def without_names(records: Sequence[Record], inputs: Sequence[str]) -> list[Record]:
    """The records with "case N" for the N-th input wherever its name or its results' would stand.

    Args:
        records: of a run.
        inputs: paths in the order of the run, those that it did not come to too.
    """
    numbers = {path: number for number, path in enumerate(inputs, 1)}
    return [_without_name(record, f"case {numbers[record.input]}") for record in records]


def _without_name(record: Record, code: str) -> Record:
    name = Path(record.input).name
    known = "|".join(re.escape(one) for one in (record.input, name, stem_of(Path(name))))
    told = re.compile(rf"(?<!\w)(?:\S*{os.sep})?(?:{known})(?!\w)")

    def plain(text: str) -> str:
        return told.sub(code, text)

    return replace(
        record,
        input=code,
        output=record.output and code,
        files=[],
        warnings=[plain(text) for text in record.warnings],
        notes=[plain(text) for text in record.notes],
        error=record.error and plain(record.error),
    )


def carry_over(records: Sequence[Record], path: Path) -> list[Record]:
    """The records, those of inputs passed over filled from an earlier report, where there is one."""
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        earlier = {case["input"]: Record(**{**case, "status": "skipped"}) for case in cases if case["output"]}
    except (OSError, ValueError, KeyError, TypeError):  # none, or another program's
        earlier = {}
    return [earlier.get(record.input, record) if record.status == "skipped" else record for record in records]


def doubtful_first(records: Sequence[Record]) -> list[Record]:
    """Records by the Dice to expect of their worst class, the worst first; those of which nothing is told come last."""
    return sorted(records, key=lambda record: math.inf if (value := worst(record.quality)) is None else value)


def write_table(records: Sequence[Record], path: Path) -> Path:
    """Write qualities as CSV, the doubtful first: expected Dice and error by class, slices to look at, warnings."""
    records = doubtful_first([record for record in records if record.quality])
    names = list(dict.fromkeys(name for record in records for name in record.quality))
    columns = [f"{kind}_{name}" for name in names for kind in ("quality", "error")]
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["input", *columns, "slices", "warnings"])
        for record in records:
            numbers = [value for name in names for value in record.quality.get(name, {}).get("case", (None, None))]
            slices = [str(number) for number, _, _ in doubtful_slices(record.quality)[:SHOWN_SLICES]]
            cells = ["" if value is None else value for value in numbers]
            table.writerow([cell(record.input), *cells, " ".join(slices), cell("; ".join(record.warnings))])
    return path


def write_pictures(records: Sequence[Record], path: Path) -> Path:
    """Write a page of the overlays that the records name, the doubtful first."""
    shown = []
    for record in doubtful_first(records):
        for file in (one for one in record.files if one.endswith("_overlay.png")):
            address = quote(Path(os.path.relpath(file, path.parent)).as_posix())
            lines = [f"{name}: {told(one['case'])}" for name, one in record.quality.items()] + record.warnings
            caption = "".join(f"<br>{html.escape(line)}" for line in lines)
            name = html.escape(record.input)
            shown.append(f'<figure><img src="{address}" alt="{name}"><figcaption>{name}{caption}</figcaption></figure>')
    with whole_file(path) as partial:
        partial.write_text(PAGE + "\n".join(shown) + "\n", encoding="utf-8")
    return path


PAGE = """<!doctype html><meta charset="utf-8"><title>Overlays, the doubtful first</title>
<style>body{font-family:sans-serif}figure{display:inline-block;margin:8px;vertical-align:top;max-width:520px}
img{max-width:100%}figcaption{font-size:90%;overflow-wrap:anywhere}</style>
"""


def told(quality: Sequence[float | None]) -> str:
    """An expected Dice with its error, in words of a table."""
    value, error = quality
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"
