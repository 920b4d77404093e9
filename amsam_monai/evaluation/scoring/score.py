"""A score and the names of its columns; light, since tables and comparisons need no more."""

from __future__ import annotations

from dataclasses import dataclass, field

SURFACE_METRICS = ("hd95", "assd", "nsd")


@dataclass(frozen=True)
class Score:
    """What one class of one case scores.

    Args:
        case: name of the case.
        label: name of the class.
        outcome: one of `overlap.OUTCOMES`.
        values: per column, such as `dice` or `hd95_mm`; NaN where there is none.
    """

    case: str
    label: str
    outcome: str
    values: dict[str, float] = field(default_factory=dict)


def column_of(metric: str, unit: str, tolerance: float) -> str:
    """Name of a metric's column: distances carry their unit ("hd95_mm"), NSD its tolerance too ("nsd_2mm")."""
    if metric == "nsd":
        return f"nsd_{tolerance:g}{unit}"
    return f"{metric}_{unit}" if metric in SURFACE_METRICS else metric


def metric_of(column: str) -> str:
    """The metric of a column: "hd95_mm" -> "hd95"."""
    head = column.rsplit("_", 1)[0]
    return head if head in SURFACE_METRICS else column
