"""A block of settings as configurations, command lines and model files write it, brought to one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amsam_monai.bundles.arguments import MEMBER, known_arguments
from amsam_monai.bundles.setting_checks import check_classes, check_known

WORDS = {"false": False, "true": True, "null": None}


def plain_block(block: Any) -> dict[str, Any]:
    """A plain copy of a block, whatever kind of mapping it is.

    Raises:
        ValueError: it is no mapping.
    """
    if not isinstance(block, Mapping):
        raise ValueError(f"settings must be a mapping, got {block!r}.")
    return {str(name): plain_values(value) for name, value in block.items()}


def plain_values(value: Any) -> Any:
    """Plain copies of a block, with the words of a command line as values."""
    if isinstance(value, Mapping):
        return {key: plain_values(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(one) for one in value]
    return WORDS.get(value.lower(), value) if isinstance(value, str) else value


def each_class(objects: Mapping[str, Any], classes: Any) -> list[Any]:
    """A word for each class, "one" where none is given."""
    check_classes(classes)
    check_known("arguments.objects", objects, classes)
    return [objects.get(name, "one") for name in classes]


def plain_members(members: Any) -> list[dict[str, Any]]:
    """Members of a mean with every argument said, so that two ways to say the same are equal."""
    if not isinstance(members, list) or not all(isinstance(one, Mapping) for one in members):
        raise ValueError(f"settings.arguments.members must be a list of {{system, ...}}, got {members!r}.")
    found = []
    for member in members:
        check_known("arguments.members", member, MEMBER)
        system, arguments = str(member.get("system")), member.get("arguments") or {}
        if system == "mean" or (known := known_arguments(system)) is None:
            raise ValueError(f"settings.arguments.members must be systems that are no mean themselves, got {system!r}.")
        check_known("arguments", arguments, known)
        usual = {name: value for name, value in usual_arguments(system).items() if name in known}
        said = {"image_size": member.get("image_size"), "detector": bool(member.get("detector"))}
        found.append({"system": system, **said, "arguments": {**usual, **arguments}})
    return found


def usual_arguments(system: str) -> dict[str, Any]:
    """Values that a system's constructor takes where it is not told: {} for a system that is not ours."""
    from amsam_monai.bundles.network import usual_arguments_of

    return usual_arguments_of(system)
