"""What a block of settings may say: its names, kinds and values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from amsam_monai.bundles.arguments import DEFAULTS, FIXED, SAM_ARGUMENTS

if TYPE_CHECKING:
    from amsam_monai.bundles.settings import Settings

INTENSITY_ARGUMENTS = ("mode", "low", "high", "per", "check")
SLICE_ARGUMENTS = ("axis", "orientation", "batch_size", "neighbours", "flips")
FLIPS = ("horizontal", "vertical")


def places(name: str) -> list[str]:
    """Ids of the settings of a name, wherever in the block: image_size is settings#sam#image_size."""
    from amsam_monai.bundles.settings import Settings

    arguments = [names for table in (FIXED, DEFAULTS) for system, names in table.items() if system != "detector"]
    parts = {
        "sam": SAM_ARGUMENTS,
        "arguments": frozenset.union(*arguments),
        "detector": DEFAULTS["detector"] | {"architecture"},
        "intensity": INTENSITY_ARGUMENTS,
        "slices": SLICE_ARGUMENTS,
    }
    top = [f"settings#{name}"] if name in {one.name for one in fields(Settings)} else []
    return top + [f"settings#{part}#{name}" for part, names in parts.items() if name in names]


def check_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that are not known."""
    known = sorted(known)
    for name in names:
        if name not in known:
            elsewhere = [place for place in places(str(name)) if place != f"settings#{what}#{name}"]
            near = elsewhere or difflib.get_close_matches(str(name), known, n=1)
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise ValueError(f"{what} must be among {', '.join(known)}, got {name!r}{hint}.")


def check_kinds(settings: Settings) -> None:
    """Refuse what is no text or no mapping where one is meant."""
    if not isinstance(settings.system, str):
        raise ValueError(f"settings.system must be a name, got {settings.system!r}.")
    for name in ("sam", "classes", "arguments", "detector", "intensity", "slices"):
        value = getattr(settings, name)
        if not isinstance(value, Mapping) and not (name == "detector" and value is None):
            raise ValueError(f"settings.{name} must be a mapping, got {value!r}.")


def check_classes(classes: Mapping[str, int]) -> None:
    """Refuse what are no classes of a bundle.

    Raises:
        ValueError: no class, values that are not each a whole number of its own from 1, or a name that MONAI would read
            as code or as another file: names come with data, too.
    """
    if not isinstance(classes, Mapping) or not classes:
        raise ValueError(f"settings.classes must map names to values in label files, got {classes!r}.")
    for name, value in classes.items():
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"settings.classes must map names to whole numbers from 1, got {name!r}: {value!r}.")
        if name.lstrip().startswith(("$", "@", "%")):
            problem = "settings.classes must have names that do not begin with $, @ or %, which MONAI would run"
            raise ValueError(f"{problem}, got {name[:80]!r}; name the class otherwise (--labels {value}=NAME).")
    if len(set(classes.values())) < len(classes):
        raise ValueError(f"settings.classes must have a value of its own for each class, got {dict(classes)}.")


def check_slices(slices: Mapping[str, Any]) -> None:
    """Refuse directions of mirror images that are not known, and counts that are not whole numbers."""
    flips = slices.get("flips", ())
    if not isinstance(flips, list | tuple) or not all(one in FLIPS for one in flips):
        raise ValueError(f"settings.slices.flips must be a list of {', '.join(FLIPS)}, got {flips!r}.")
    for name in ("batch_size", "neighbours"):
        if name in slices and (isinstance(slices[name], bool) or not isinstance(slices[name], int)):
            raise ValueError(f"settings.slices.{name} must be a whole number, got {slices[name]!r}.")


def check_switches(part: str, arguments: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """Refuse another value than true or false for what is either: "no" would turn it on."""
    for name, value in arguments.items():
        if isinstance(usual.get(name), bool) and value not in (True, False):
            raise ValueError(f"settings.{part}.{name} must be true or false, got {value!r}.")


def check_intensity(intensity: Mapping[str, Any]) -> None:
    """Refuse what `Intensity` does not take."""
    from amsam_monai.transforms.intensity import Intensity

    try:
        Intensity(**intensity)
    except TypeError as error:
        raise ValueError(f"settings.intensity must hold arguments of Intensity, got {dict(intensity)}.") from error
