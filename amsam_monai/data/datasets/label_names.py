"""Which values labels hold and what they are called, where nobody wrote a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from amsam_monai.data.datasets.annotations import is_annotation
from amsam_monai.data.datasets.cases import Listing, Problem
from amsam_monai.data.datasets.reading import present_values
from amsam_monai.data.files.images import read_label
from amsam_monai.data.files.labels import label_table
from amsam_monai.data.files.loaded_image import ImageFileError
from amsam_monai.data.files.segments import plain

FOREGROUND = "foreground"
MAX_CLASSES = 64  # more values than that are hardly classes


def name_labels(listing: Listing, labels: Mapping[int, str] | None) -> None:
    """Give a listing its table of labels, and its cases the rule that brings their values to it, in place.

    Args:
        listing: cases whose labels may be named already.
        labels: the user's table; what it leaves out is background, which is noted.

    A label file that cannot be read, a class in no label and labels without any foreground become problems.
    """
    if listing.cases and any(case.rule != "named" for case in listing.cases):  # a data set that has a table
        if labels:
            listing.labels = label_table(labels)
            listing.cases = [replace(case, rule="named") for case in listing.cases]
        return
    drawn = [case for case in listing.cases if is_annotation(case.label)]
    if drawn:
        listing.labels = label_table(labels) if labels else listing.labels
        return
    own_names: list[dict[int, str]] = []
    counts = values_of(listing, own_names)
    if own_names and not listing.problems:
        name_segments(listing, labels, own_names)
        return
    values = sorted(value for value in counts if value)
    if listing.problems:
        return
    if not values:
        listing.problems.append(
            Problem(listing.cases[0].label, "all labels are empty; at least one must hold a class.")
        )
        return
    if values == [255] or (values == [1] and not labels and not listing.labels):
        name = next(iter((labels or listing.labels).values()), FOREGROUND)
        listing.labels = {1: name}
        listing.cases = [replace(case, rule="binary") for case in listing.cases]
        return
    if not labels and not listing.labels and len(values) > MAX_CLASSES:
        listing.problems.append(
            Problem(
                listing.cases[0].label,
                f"labels hold {len(values)} values; are these images, or ids of objects? Name classes with --labels.",
            )
        )
        return
    table = label_table(labels or listing.labels or {value: str(value) for value in values if value != 255})
    for value, name in table.items():
        if value not in counts:
            listing.problems.append(
                Problem(listing.cases[0].label.parent, f"no label holds {value} ({name}); labels hold {values}.")
            )
    left_out = [f"{value} (in {counts[value]} cases)" for value in values if value not in table]
    if left_out:
        listing.notes.append(f"label values without a name are background: {', '.join(left_out[:8])}")
    listing.labels = table


def name_segments(listing: Listing, labels: Mapping[int, str] | None, own_names: list[dict[int, str]]) -> None:
    """The table of labels that name their classes (.seg.nrrd, DICOM-SEG); values count only where all files agree.

    Args:
        listing: cases whose labels are matched by name when they are read.
        labels: the user's table.
        own_names: number to name, of every file that names its classes.
    """
    if labels or listing.labels:
        listing.labels = label_table(labels or listing.labels)
        return
    if len(own_names) < len(listing.cases):
        message = (
            f"{len(listing.cases) - len(own_names)} labels do not name their classes, the others do; give --labels."
        )
        listing.problems.append(Problem(listing.cases[0].label.parent, message))
        return
    spelling = {plain(name): name for names in reversed(own_names) for name in names.values()}
    numbers = {(number, plain(name)) for names in own_names for number, name in names.items()}
    if len(numbers) > len(spelling) or len({number for number, _ in numbers}) < len(numbers):
        numbers = set(enumerate(sorted(spelling), start=1))
        listing.notes.append("labels number their classes in different orders: matched by name")
    listing.labels = label_table({number: spelling[name] for number, name in sorted(numbers)})


def values_of(listing: Listing, own_names: list[dict[int, str]] | None = None) -> Counter[int]:
    """Value -> number of labels that hold it; unreadable labels become problems of the listing.

    Args:
        listing: the cases.
        own_names: takes number to name of every label file that names its classes.
    """
    counts: Counter[int] = Counter()
    for case in listing.cases:
        try:
            label = read_label(case.label)
            counts.update(present_values(label.array))
            if label.segments is not None and own_names is not None:
                own_names.append(label.segments.names)
        except (ImageFileError, OSError) as error:
            words = getattr(error, "problem", None) or str(error).removeprefix(f"{case.label}: ")
            listing.problems.append(Problem(case.label, words))
    return counts
