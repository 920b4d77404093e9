"""The labelled cases that train, and their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amsam_monai.data.datasets.cases import Listing
from amsam_monai.data.datasets.checks import finish
from amsam_monai.data.ids import cases_of
from amsam_monai.keys import CASE_ID


def cases_that_train(listing: Listing, ids: Sequence[str] | None) -> list[dict[str, Any]]:
    """The cases that train, each read once; the others are not looked at.

    Raises:
        DatasetError: cases that cannot be used, all of them.
        ValueError: an id that no case has.
    """
    if ids is not None and not listing.problems:
        chosen = {str(case[CASE_ID]) for case in cases_of([case.item() for case in listing.cases], ids)}
        listing.cases = [case for case in listing.cases if case.case_id in chosen]
    return finish(listing, section=None, check="full", progress=False)


def ids_of(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Ids of cases, in their order."""
    return [str(case[CASE_ID]) for case in cases]
