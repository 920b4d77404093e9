"""Every file of a data set read once: what is wrong with it, and the numbers of a report."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from amsam_monai.data.datasets.cases import Case, DatasetError, Listing, Problem, check_ids
from amsam_monai.data.datasets.reading import ReadCase, present_values, read_case
from amsam_monai.data.datasets.sections import in_section

logger = logging.getLogger(__name__)

CHECKS = ("full", "names")
Spread = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]  # map, over threads or a cluster's workers


@dataclass
class Facts:
    """What was seen in a case.

    Args:
        case: the case.
        shape: rows and columns, or voxels along i, j, k.
        dtype: type of the stored image.
        spacing_mm: None where the file does not say.
        low_high: least and greatest value of the image.
        voxels: label id to its number of pixels or voxels.
        mended: what had to be done to the label.
        more: what `survey` was told to make of it.
    """

    case: Case
    shape: tuple[int, ...]
    dtype: str
    spacing_mm: tuple[float, ...] | None
    low_high: tuple[float, float]
    voxels: dict[int, int]
    mended: tuple[str, ...]
    more: Any = None


def facts_of(case: Case, read: ReadCase) -> Facts:
    """The numbers of a case that was read."""
    image, label = read.image, read.label.array
    counts = np.bincount(label.ravel(order="K"), minlength=1)
    return Facts(
        case,
        image.spatial_shape,
        str(image.array.dtype),
        image.spacing_mm,
        (float(image.array.min()), float(image.array.max())),
        {value: int(counts[value]) for value in present_values(label) if value},
        read.mended,
    )


@dataclass(frozen=True)
class Look:
    """Reads a case: facts of a sound one, the problem of another. Its parts can be pickled if `each` can."""

    labels: Mapping[int, str]
    each: Callable[[Case, ReadCase], Any] | None = None

    def __call__(self, case: Case) -> Facts | Problem:
        """Facts or problem of a case."""
        try:
            read = read_case(case.image, case.label, case.rule, self.labels)
            more = None if self.each is None else self.each(case, read)
            return replace(facts_of(case, read), more=more)
        except (ValueError, OSError) as error:
            return problem_of(case, error)


def survey(
    listing: Listing,
    *,
    progress: bool = False,
    each: Callable[[Case, ReadCase], Any] | None = None,
    spread: Spread | None = None,
) -> tuple[list[Facts], list[Problem]]:
    """Read every case once; facts of the sound ones, problems of the others, in the listing's order.

    Args:
        listing: the data set.
        progress: show a bar.
        each: called with every sound case while it is in memory, from several threads; `Facts.more` is what it gives.
        spread: where cases are read; None is a few threads.
    """
    seen = (spread or threaded)(Look(listing.labels, each), listing.cases)
    found = list(tqdm(seen, total=len(listing.cases), desc="reading", disable=not progress))
    return [one for one in found if isinstance(one, Facts)], [one for one in found if isinstance(one, Problem)]


def problem_of(case: Case, error: Exception) -> Problem:
    """The file that an error is about, and its words."""
    name = getattr(error, "path", None) or getattr(error, "filename", None)
    path = case.image if name is None else type(case.image)(name)
    words = getattr(error, "problem", None) or getattr(error, "strerror", None) or str(error)
    words = words.removeprefix(f"{path}: ")
    for other in (case.image, case.label):
        if name is None and words.startswith(f"{other}: "):
            path, words = other, words.removeprefix(f"{other}: ")
    return Problem(path, words)


def threaded(function: Callable[[Any], Any], cases: Sequence[Any]) -> Iterator[Any]:
    """`map` over a few threads with only a few results in flight, so that memory stays flat."""
    workers = max(1, min(4, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(cases), 8 * workers):
            yield from pool.map(function, cases[start : start + 8 * workers])


def finish(listing: Listing, *, section: str | None, check: str, progress: bool) -> list[dict[str, Any]]:
    """The listing as a MONAI datalist, checked.

    Args:
        listing: with sections set.
        section: one of SECTIONS; None for all cases.
        check: "full" reads every file, "names" trusts what the files hold.
        progress: show a bar.

    Raises:
        ValueError: unknown section or check, or a section without cases.
        DatasetError: offending files, all of them.
    """
    if check not in CHECKS:
        raise ValueError(f"check must be one of {CHECKS}, got {check!r}.")
    cases = in_section(listing, section)
    problems = listing.problems + check_ids(listing.cases)
    if check == "full":
        wanted = Listing(listing.dataset, listing.labels, cases)
        facts, unsound = survey(wanted, progress=progress)
        problems += unsound
        listing.notes += mending_notes(facts)
    if problems:
        raise DatasetError(listing.dataset, problems)
    for note in listing.notes:
        logger.info("%s: %s", listing.dataset, note)
    return [case.item() for case in cases]


def mending_notes(facts: list[Facts]) -> list[str]:
    """How many labels had to be resized, drawn or cut, in words."""
    counts = Counter(how for fact in facts for how in fact.mended)
    return [f"{count} of {len(facts)} labels {how}" for how, count in sorted(counts.items())]
