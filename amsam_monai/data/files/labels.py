"""What label values mean: tables from ids to names, and the way from one table to another by name.

Two public copies of Synapse number the same eight organs differently, and the original numbers thirteen; a network
trained on one and scored on another without a table measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Synapse (BTCV) as its owners number it: RawData/Training/label.
SYNAPSE_RAW = {
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    4: "gallbladder",
    5: "esophagus",
    6: "liver",
    7: "stomach",
    8: "aorta",
    9: "inferior vena cava",
    10: "portal and splenic vein",
    11: "pancreas",
    12: "right adrenal gland",
    13: "left adrenal gland",
}
# Eight organs as SAMed's preprocessing script numbers them.
SYNAPSE_SAMED = {
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    4: "gallbladder",
    5: "liver",
    6: "stomach",
    7: "aorta",
    8: "pancreas",
}
# Eight organs as in the arrays that TransUNet distributes and AI-SAM uses.
SYNAPSE_TRANSUNET = {
    1: "aorta",
    2: "gallbladder",
    3: "left kidney",
    4: "right kidney",
    5: "liver",
    6: "pancreas",
    7: "spleen",
    8: "stomach",
}
ACDC = {1: "RV", 2: "Myo", 3: "LV"}

TABLES: Mapping[str, Mapping[int, str]] = {
    "acdc": ACDC,
    "synapse-raw": SYNAPSE_RAW,
    "synapse-samed": SYNAPSE_SAMED,
    "synapse-transunet": SYNAPSE_TRANSUNET,
    "lesion": {1: "lesion"},
    "polyp": {1: "polyp"},
    "gland": {1: "gland"},
    "nucleus": {1: "nucleus"},
    "person": {1: "person"},
    "foreground": {1: "foreground"},
}


NEVER_SCORED = ("void", "never scored", "ignore")  # what 255 may be called in a table


def label_table(table: str | Mapping[int, str]) -> dict[int, str]:
    """The table of that name, or a checked copy of a table of your own.

    Args:
        table: a key of TABLES, or a mapping from ids, 1 and up, to names;
            255 for what is never scored (`NEVER_SCORED`).

    Raises:
        ValueError: unknown name, no label, ids outside 1..254, or a name used twice.
    """
    if isinstance(table, str):
        if table not in TABLES:
            raise ValueError(f"label table must be one of {', '.join(TABLES)}, or a mapping, got {table!r}.")
        return dict(TABLES[table])
    copy = {int(value): str(name) for value, name in table.items() if int(value) != 0}
    if copy.get(255, NEVER_SCORED[0]).casefold() not in NEVER_SCORED:
        raise ValueError(
            f"label 255 must not be a class among others, got {copy[255]}: losses and scores leave 255 out; for masks "
            f"of 0 and 255 name it alone (255={copy[255]}, which becomes class 1), for what is not scored 255=void."
        )
    classes = set(copy) - {255}
    if not classes or min(classes) < 1 or max(classes) > 254:
        raise ValueError(f"label ids must lie in 1..254, got {sorted(copy)}.")
    if len(set(copy.values())) < len(copy):
        raise ValueError(f"label names must differ, got {list(copy.values())}.")
    return copy


def is_binary(table: str | Mapping[int, str] | None) -> bool:
    """Whether a table is {255: name}: masks of 0 and 255, whose class index is 1."""
    return isinstance(table, Mapping) and [int(value) for value in table if int(value)] == [255]


def value_map(source: str | Mapping[int, str], target: str | Mapping[int, str]) -> dict[int, int]:
    """Which id of `target` each id of `source` becomes: the one of the same name, else background.

    Raises:
        ValueError: `target` has a name that `source` lacks, so that no copy of the label could be complete.
    """
    old, new = label_table(source), label_table(target)
    lost = sorted(set(new.values()) - set(old.values()))
    if lost:
        raise ValueError(f"target labels must be among the source's, got {', '.join(lost)} besides.")
    by_name = {name: value for value, name in new.items()}
    return {0: 0} | {value: by_name.get(name, 0) for value, name in old.items()}


def remap(label: np.ndarray, source: str | Mapping[int, str], target: str | Mapping[int, str]) -> np.ndarray:
    """A label map in the ids of another table, uint8.

    Raises:
        ValueError: as `value_map`, or the label holds ids that `source` lacks.
    """
    mapping = value_map(source, target)
    values = np.unique(label)
    unknown = [int(value) for value in values if int(value) not in mapping]
    if unknown:
        raise ValueError(f"label values must be among {sorted(mapping)}, got {unknown}.")
    lookup = np.zeros(max(mapping) + 1, np.uint8)
    lookup[list(mapping)] = list(mapping.values())
    return lookup[label]
