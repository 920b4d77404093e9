"""Label maps whose values, or names of classes, are not those of the table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from amsam_monai.data.files.images import ImageFileError, LoadedImage, read_label
from amsam_monai.data.files.segments import plain
from amsam_monai.keys import IGNORE_INDEX

Own = Mapping[str, str]  # a value or a name of your own -> the table's name of the class, "background" for none

BACKGROUND = "background"


def parse_map(text: str, labels: Mapping[int, str]) -> dict[str, str]:
    """What own values or names are in the table's words, from "Myo=1,LV=2,RV=3".

    Every class of the table is named; the other side is a value, or the name that a file gives (.seg.nrrd,
    DICOM-SEG). "background=4" leaves a value out.

    Raises:
        ValueError: not of that form, a class that the table lacks or that is missing, or a value twice.
    """
    own: dict[str, str] = {}
    known = {plain(name): name for name in labels.values()} | {BACKGROUND: BACKGROUND}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (equals and value) or plain(name) not in known:
            raise ValueError(f"map must read CLASS=VALUE with classes of {', '.join(labels.values())}, got {item!r}.")
        if plain(value) in own:
            raise ValueError(f"map must name each value once, got {value!r} again.")
        own[plain(value)] = known[plain(name)]
    if missing := sorted(set(labels.values()) - set(own.values())):
        raise ValueError(f"map must name every class of the table, got none for {', '.join(missing)}.")
    return own


def read_mapped(path: Path, labels: Mapping[int, str], own: Own | None = None) -> LoadedImage:
    """A label map in the table's indices.

    Raises:
        ImageFileError: as `read_label`, or a value or name that `own` lacks.
    """
    if own is None:
        return read_label(path, labels=labels)
    indices = {name: index for index, name in labels.items()} | {BACKGROUND: 0}
    loaded = read_label(path)
    keys = {number: plain(name) for number, name in loaded.segments.names.items()} if loaded.segments else {}
    lookup: dict[int, int] = {0: 0, IGNORE_INDEX: IGNORE_INDEX}
    for value in np.unique(loaded.array).tolist():
        name = own.get(keys.get(value, str(value)), own.get(str(value)))
        if name is not None:
            lookup[value] = indices[name]
        elif value not in lookup:
            named = f"{value} ({keys[value]})" if value in keys else str(value)
            raise ImageFileError(path, f"holds {named}, which --map leaves unnamed; name it, or map background to it.")
    mapped = np.zeros(loaded.array.shape, np.uint8)
    for value, index in lookup.items():
        mapped[loaded.array == value] = index
    loaded.array = mapped
    return loaded
