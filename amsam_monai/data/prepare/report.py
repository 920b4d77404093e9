"""What `amsam prepare` saw, as numbers and as a page to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from amsam_monai.data.datasets.cases import LISTED, SECTIONS, Listing, Problem
from amsam_monai.data.datasets.checks import Facts, mending_notes


def make_report(listing: Listing, facts: Sequence[Facts], problems: Sequence[Problem]) -> dict[str, Any]:
    """Counts, sizes, spacings, label volumes and problems of a data set, ready for JSON.

    Args:
        listing: the data set.
        facts: of its sound cases.
        problems: all of them.
    """
    sections = Counter(fact.case.section or "none" for fact in facts)
    known = [fact.spacing_mm for fact in facts if fact.spacing_mm is not None]
    return {
        "dataset": listing.dataset,
        "cases": len(facts),
        "patients": len({fact.case.patient_id for fact in facts}),
        "sections": {name: sections[name] for name in (*SECTIONS, "none") if sections[name]},
        "shape": spread([fact.shape for fact in facts]),
        "spacing_mm": {"known": len(known), "unknown": len(facts) - len(known)} | spread(known),
        "intensity": {
            "types": dict(Counter(fact.dtype for fact in facts)),
            "least": min((fact.low_high[0] for fact in facts), default=None),
            "greatest": max((fact.low_high[1] for fact in facts), default=None),
        },
        "labels": [label_row(value, name, facts) for value, name in listing.labels.items()],
        "empty_labels": [fact.case.case_id for fact in facts if not fact.voxels],
        "notes": listing.notes + mending_notes(list(facts)),
        "problems": [{"path": str(problem.path), "message": problem.message} for problem in problems],
        "per_case": [case_row(fact, listing) for fact in facts],
    }


def spread(tuples: Sequence[tuple[float, ...]]) -> dict[str, list[float]]:
    """Least, median and greatest value per axis; empty for mixed or no tuples."""
    if not tuples or len({len(one) for one in tuples}) > 1:
        return {}
    table = np.array(tuples, dtype=float)
    values = {"least": table.min(0), "median": np.median(table, 0), "greatest": table.max(0)}
    return {name: [round(float(one), 4) for one in row] for name, row in values.items()}


def label_row(value: int, name: str, facts: Sequence[Facts]) -> dict[str, Any]:
    """How often a label occurs, and how large it is where it does."""
    present = [fact for fact in facts if fact.voxels.get(value)]
    shares = [fact.voxels[value] / float(np.prod(fact.shape)) for fact in present]
    volumes = [one for fact in present if (one := millilitres(fact, value)) is not None]
    return {
        "id": value,
        "name": name,
        "cases": len(present),
        "mean_voxels": round(float(np.mean([fact.voxels[value] for fact in present])), 1) if present else None,
        "mean_share": round(float(np.mean(shares)), 5) if present else None,
        "mean_ml": round(float(np.mean(volumes)), 2) if volumes else None,
        "range_ml": [round(min(volumes), 2), round(max(volumes), 2)] if volumes else None,
    }


def millilitres(fact: Facts, value: int) -> float | None:
    """Volume of a label in a case; None where the spacing is unknown."""
    if fact.spacing_mm is None or len(fact.shape) < 3:
        return None
    return fact.voxels.get(value, 0) * float(np.prod(fact.spacing_mm)) / 1000


def case_row(fact: Facts, listing: Listing) -> dict[str, Any]:
    """One case in the report."""
    row: dict[str, Any] = {"case_id": fact.case.case_id, "patient_id": fact.case.patient_id}
    row |= {"section": fact.case.section, "shape": list(fact.shape), "spacing_mm": fact.spacing_mm}
    row |= {"voxels": {name: fact.voxels.get(value, 0) for value, name in listing.labels.items()}}
    return row | ({"mended": list(fact.mended)} if fact.mended else {})


def to_markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    spacing, shape = report["spacing_mm"], report["shape"]
    lines = [f"# {report['dataset']}", ""]
    parts = ", ".join(
        f"{count} {name if name != 'none' else 'in no section'}" for name, count in report["sections"].items()
    )
    lines += [f"{report['cases']} cases of {report['patients']} patients: {parts or 'none'}.", ""]
    if shape:
        lines += ["| | least | median | greatest |", "|---|---|---|---|", _row("size", shape)]
        lines += [_row("spacing, mm", spacing)] if "least" in spacing else []
        lines += [""]
    lines += [f"Spacing is known for {spacing['known']} cases and unknown for {spacing['unknown']}.", ""]
    intensity = report["intensity"]
    types = ", ".join(f"{name} ({count})" for name, count in intensity["types"].items())
    lines += [f"Intensities lie in {intensity['least']} to {intensity['greatest']}, stored as {types}.", ""]
    lines += [
        "| id | label | cases | mean pixels | share of the image | mean ml | ml |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["labels"]:
        ml = "-" if row["range_ml"] is None else f"{row['range_ml'][0]} to {row['range_ml'][1]}"
        share = "-" if row["mean_share"] is None else f"{100 * row['mean_share']:.2f} %"
        cells = (row["id"], row["name"], row["cases"], row["mean_voxels"] or "-", share, row["mean_ml"] or "-", ml)
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    if report["empty_labels"]:
        lines += ["", f"Empty labels: {_some(report['empty_labels'])}."]
    lines += ["", "## Notes", ""] + ([f"- {note}" for note in report["notes"]] or ["None."])
    lines += ["", "## Problems", ""]
    lines += [f"- {problem['path']}: {problem['message']}" for problem in report["problems"]] or ["None."]
    return "\n".join(lines) + "\n"


def _row(name: str, values: dict[str, list[float]]) -> str:
    cells = (" x ".join(f"{one:g}" for one in values[column]) for column in ("least", "median", "greatest"))
    return f"| {name} | " + " | ".join(cells) + " |"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
