"""A bundle's settings in one place: what network, which classes, how images come in and masks go out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from amsam_monai.bundles.arguments import DEFAULTS, DETECTORS, SAM_ARGUMENTS, is_default, known_arguments
from amsam_monai.bundles.measured import check_limits_block, check_quality_block
from amsam_monai.bundles.plain_settings import each_class, plain_block, plain_members, plain_values, usual_arguments
from amsam_monai.bundles.setting_checks import (
    SLICE_ARGUMENTS,
    check_classes,
    check_intensity,
    check_kinds,
    check_known,
    check_slices,
    check_switches,
)
from amsam_monai.data.classes import Classes
from amsam_monai.framing import RESIZE_MODES

logger = logging.getLogger(__name__)

LABEL_VALUES = ("index", "own")
FIXED_FIELDS = ("system", "classes", "resize")


@dataclass(frozen=True)
class Settings:
    """What training, inference, evaluation, servers and pages must agree on. Made by `Settings.of`.

    Args:
        system: amsam, aisam, autosam, unified or mean; another name is of a class that the caller hands over.
        sam: backbone, weights, image_size and, where the weights do not tell, normalise: arguments of `build_sam`.
        classes: name -> its value in the user's label files; a class's index is its place here, from 1.
        resize: how images come into SAM's square, see `SquareFrame`.
        arguments: further ones of the system's constructor; of a mean its members: [{system, image_size: of its square,
            if it has one of its own, arguments, detector: whether it takes that of the settings}].
        detector: {file: name beside model.pt, architecture: yolo (where it is not said) or embedding, and options of
            `BoxDetector` or `EmbeddingDetector`}, or None.
        intensity: arguments of `Intensity`.
        slices: arguments of `SliceInferer`.
        largest_component: argument of `Segmenter`.
        label_values: what result maps hold: "index", or "own", the values of `classes`.
        limits: what is usual, measured on the training cases, see `amsam_monai.segment.limits`; None warns of nothing.
        quality: from how sure the network is to the Dice to expect, see `amsam_monai.segment.calibration`, or None.
    """

    system: str
    sam: dict[str, Any]
    classes: dict[str, int]
    resize: str = "pad"
    arguments: dict[str, Any] = field(default_factory=dict)
    detector: dict[str, Any] | None = None
    intensity: dict[str, Any] = field(default_factory=dict)
    slices: dict[str, Any] = field(default_factory=dict)
    largest_component: bool | list[str] = False
    label_values: str = "index"
    limits: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_kinds(self)
        check_classes(self.classes)
        check_known("sam", self.sam, SAM_ARGUMENTS)
        if "backbone" not in self.sam or "image_size" not in self.sam:
            raise ValueError(f"settings.sam must name backbone, weights and image_size, got {self.sam}.")
        if (known := known_arguments(self.system)) is not None:
            check_known("arguments", self.arguments, known)
        if self.resize not in RESIZE_MODES:
            raise ValueError(f"settings.resize must be one of {RESIZE_MODES}, got {self.resize!r}.")
        if self.detector is not None:
            check_known("detector", self.detector, {"file", "architecture", *DEFAULTS["detector"]})
            if self.detector_architecture not in DETECTORS:
                raise ValueError(
                    f"settings.detector.architecture must be one of {', '.join(DETECTORS)}, got "
                    f"{self.detector_architecture!r}."
                )
        if self.label_values not in LABEL_VALUES:
            raise ValueError(f"settings.label_values must be one of {LABEL_VALUES}, got {self.label_values!r}.")
        check_known("slices", self.slices, SLICE_ARGUMENTS)
        check_slices(self.slices)
        check_intensity(self.intensity)
        check_switches("arguments", self.arguments, usual_arguments(self.system))
        check_switches("detector", self.detector or {}, {"flips": False, "snap_to_dark_object": False})
        if not isinstance(self.largest_component, bool | list):
            raise ValueError(
                f"settings.largest_component must be true, false or a list of classes, got {self.largest_component!r}."
            )
        for name in [] if isinstance(self.largest_component, bool) else self.largest_component:
            check_known("largest_component", [name], self.classes)
        check_limits_block(self.limits, self.classes)
        check_quality_block(self.quality, self.classes)

    @classmethod
    def of(cls, settings: Mapping[str, Any] | Settings) -> Settings:
        """Check a block of settings, as it stands in a configuration or a model file.

        The words false, true and null, as a command line gives them, become values; a list of classes has the values
        1, 2, ...; a detector may be given by its file alone; `arguments.objects` may name the classes that are not
        "one".

        Raises:
            ValueError: an unknown or missing setting, or a value outside what is listed.
        """
        if isinstance(settings, Settings):
            return settings
        block = plain_block(settings)
        check_known("settings", block, [one.name for one in fields(cls)])
        if missing := [name for name in ("system", "sam", "classes") if block.get(name) is None]:
            raise ValueError(f"settings must name {', '.join(missing)}, got {sorted(block)}.")
        if isinstance(block["classes"], list):
            block["classes"] = {str(name): value for value, name in enumerate(block["classes"], 1)}
        if isinstance(block.get("detector"), str):
            block["detector"] = {"file": block["detector"]}
        for name in ("arguments", "intensity", "slices"):
            block[name] = block.get(name) or {}
        arguments = block["arguments"]
        if isinstance(arguments, Mapping) and isinstance(objects := arguments.get("objects"), Mapping):
            block["arguments"] = {**block["arguments"], "objects": each_class(objects, block["classes"])}
        if block["system"] == "mean" and isinstance(arguments, Mapping):
            block["arguments"] = {**arguments, "members": plain_members(arguments.get("members"))}
        return cls(**block)

    def to_mapping(self) -> dict[str, Any]:
        """The block as plain values; `Settings.of` takes it back."""
        return {one.name: plain_values(getattr(self, one.name)) for one in fields(self)}

    @property
    def num_classes(self) -> int:
        """K, foreground classes."""
        return len(self.classes)

    @property
    def labels(self) -> dict[int, str]:
        """Class index -> name."""
        return dict(enumerate(self.classes, 1))

    @property
    def image_size(self) -> int:
        """Side of SAM's square input, in pixels."""
        return int(self.sam["image_size"])

    @property
    def names(self) -> dict[int, str]:
        """Value in the user's label files -> class name."""
        return {value: name for name, value in self.classes.items()}

    @property
    def label_map(self) -> dict[int, int]:
        """Value in the user's label files -> class index."""
        return {value: index for index, value in enumerate(self.classes.values(), 1)}

    @property
    def objects(self) -> list[str]:
        """Of each class "one" or "all": whether its objects are decoded one by one, see `AMSAM`."""
        told = self.arguments.get("objects", "one")
        return [told] * self.num_classes if isinstance(told, str) else list(told)

    @property
    def detector_architecture(self) -> str:
        """Which detector it is: "yolo" where the settings do not say."""
        return str((self.detector or {}).get("architecture", "yolo"))

    @property
    def result_values(self) -> dict[int, int] | None:
        """Class index -> its value in result maps; None where they hold the indices."""
        return dict(enumerate(self.classes.values(), 1)) if self.label_values == "own" else None

    @property
    def result_classes(self) -> Classes:
        """Names, pieces and values of the classes in result maps."""
        return Classes.of(self.labels, largest_component=self.largest_component, values=self.result_values)

    def changed(self, overrides: Mapping[str, Any] | None) -> Settings:
        """The settings with some replaced: mappings but for `classes` key by key, the others whole.

        An intensity that names a mode replaces all of it.

        Args:
            overrides: a part of a block of settings.

        Raises:
            ValueError: an unknown setting, or one that training fixed, both values named.
        """
        overrides = plain_block(overrides or {})
        check_known("settings", overrides, [one.name for one in fields(self)])
        if (system := overrides.get("system", self.system)) != self.system:  # whose arguments are others
            raise ValueError(_fixed("system", self.system, system))
        wanted = Settings.of(merged(self.to_mapping(), overrides))
        for name, have, want in differences(self, wanted):
            if not (may_change(self.system, name) or (name == "sam.weights" and _are_files(have, want))):
                raise ValueError(_fixed(name, have, want))
            logger.info("settings.%s is %r, where the model has %r", name, want, have)
        return wanted


def checked(settings: Mapping[str, Any] | Settings) -> Settings:
    """`Settings.of`, for configurations: `{_target_: amsam_monai.bundles.settings.checked, settings: "@settings"}`."""
    return Settings.of(settings)


def merged(block: Mapping[str, Any], changes: Mapping[str, Any], whole: Iterable[str] = ("classes",)) -> dict[str, Any]:
    """A block of settings with some replaced, key by key; classes, and an intensity that names a mode, as a whole.

    Options of a detector without its file change nothing where the block says that there is none.
    """
    both: dict[str, Any] = dict(block)
    for name, value in changes.items():
        part = both.get(name)
        if name == "detector" and name in both and part is None and isinstance(value, Mapping) and "file" not in value:
            continue
        deeper = isinstance(value, Mapping) and "mode" not in value and name not in whole
        both[name] = merged(part, value, ()) if deeper and isinstance(part, dict) else value
    return both


def may_change(system: str, name: str) -> bool:
    """Whether an override may change a setting, named as `differences` does."""
    head, _, argument = name.partition(".")
    if head == "arguments":
        return is_default(system, argument)
    return head != "sam" and head not in FIXED_FIELDS


def differences(have: Settings, want: Settings) -> list[tuple[str, Any, Any]]:
    """Settings that are not the same: name, the first's value, the second's.

    Where a constructor has a default for an argument, leaving it out and giving that value are the same.
    """
    found = []
    for name in [one.name for one in fields(have)]:
        first, second = getattr(have, name), getattr(want, name)
        if name in ("sam", "arguments"):
            usual = usual_arguments(have.system) if name == "arguments" else {"weights": None, "normalise": None}
            for key in sorted({*first, *second}):
                one, other = first.get(key, usual.get(key)), second.get(key, usual.get(key))
                if one != other:
                    found.append((f"{name}.{key}", one, other))
        elif first != second or (name == "classes" and list(first) != list(second)):
            found.append((name, first, second))
    return found


def _fixed(name: str, have: Any, want: Any) -> str:
    instead = "leave it out, or train a model with it"
    return f"settings.{name} must be {have!r}, as the model was trained, got {want!r}; {instead}."


def _are_files(*weights: str | None) -> bool:
    """Whether weights of SAM are told by path, on one side at least: their sha256 tells whether they are the same."""
    from amsam_monai.networks.weights.catalogue import CATALOGUE

    return None not in weights and any(str(one) not in CATALOGUE for one in weights)
