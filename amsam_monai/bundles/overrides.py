"""Values as a command line gives them: the words for true, false and nothing."""

from __future__ import annotations

from typing import Any

WORDS = {"true": True, "false": False, "null": None, "none": None}


def said(value: Any) -> Any:
    """The value that is meant: "true", "false", "null", "none", in any case and at any depth, are True, False, None.

    A shell has strings alone, and `monai.bundle run` makes a value of "False" and "None" but not of "false" and
    "null"; what it makes None it drops, so that `--listed null` is the way to say None there, not `--listed None`
    (`ignore_none` of `monai.bundle.scripts.update_kwargs`). In a config:

        imports: ["$from amsam_monai.bundles.overrides import said"]
        turns: true
        transform: {_target_: ..., _disabled_: "$not said(@turns)"}

    Args:
        value: anything; mappings, lists and tuples are gone through, all else stays as it is.
    """
    if isinstance(value, str):
        return WORDS.get(value.strip().lower(), value)
    if isinstance(value, dict):
        return {key: said(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(said(part) for part in value)
    return value
