"""How labelled cases will be trained on: what was chosen, why, and how to choose otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from amsam_monai.auto.fingerprint import Fingerprint
from amsam_monai.data.files.atomic import whole_file

FORMAT = "amsam_monai plan, version 1"
SIDES = (112, 224, 336, 448, 672, 896)  # which TinyViT's windows of 7 and 14 cells fill: 128 or 256 take longer
FINE = 12.0  # pixels of the square that a class's parts should be thick, at least
MANY = 4.0  # objects of a class in a picture, from which on its parts are like the whole
WHOLE = 336  # pixels of the square up to which whole images train, and windows of WINDOW pixels beyond
WINDOW = 224
NEARLY = 0.8  # of the slices' side, which the square may lack
TRAINED = ("late", "full")  # part of the encoder
FEW = 3  # classes of a volume whose mirror image is as good
SIDED = (("left", "right"), ("links", "rechts"), ("gauche", "droite"), ("izquierda", "derecha"), ("l", "r"))


@dataclass(frozen=True)
class Choice:
    """One thing that the plan settles.

    Args:
        value: plain.
        reason: in words.
        option: of `amsam train`, which settles it otherwise; empty where there is none.
    """

    value: Any
    reason: str
    option: str = ""


@dataclass
class Plan:
    """All that a training needs to know, so that the same plan and seed give the same result.

    Args:
        name: of the bundle.
        classes: name -> value in the label files.
        fingerprint: of the cases.
        choices: by name: modality, intensity, neighbours, side, batch, mirrors, backbone.
        cases: ids of those that train.
        folds: patients of each fold.
        seed: of everything that is drawn.
        minutes: that the steps were meant for.
        steps: {"early": {method: steps}, "trial": ..., "final": ..., "half": ...}: of the first fold's early trials, of
            all others, of the final training, and of one that shares the time with another method; empty until they are
            measured. Steps of a detector stand beside those of its method, as "amsam, detector", and how many
            trainings are averaged as "plain, runs". "rounds" holds how many "folds" are run, "last" the training that
            is kept, by what the trials left of the time.
        seconds: of a step, by method, as it was measured.
        timing: seconds that measuring took.
    """

    name: str
    classes: dict[str, int]
    fingerprint: dict[str, Any]
    choices: dict[str, Choice]
    cases: list[str]
    folds: list[list[str]]
    seed: int = 0
    minutes: float = 30.0
    steps: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    timing: float = 0.0

    def __getitem__(self, name: str) -> Any:
        """The value of a choice."""
        return self.choices[name].value

    def detector_steps(self, part: str, method: str) -> int:
        """Steps of a method's detector in the "early", "trial", "final" or "half" training; 0 where it has none."""
        return self.steps[part].get(f"{method}, detector", 0)

    def runs(self, part: str, method: str) -> int:
        """How many trainings of the "final", "half" or "last" kind are averaged."""
        return self.steps[part].get(runs_key(method), 1)

    @property
    def rounds(self) -> int:
        """How many of the folds are run."""
        return self.steps.get("rounds", {}).get("folds", len(self.folds))

    @property
    def labels(self) -> dict[int, str]:
        """Class index -> name."""
        return dict(enumerate(self.classes, 1))

    @property
    def volumes(self) -> bool:
        """Whether the cases are volumes."""
        return bool(self.fingerprint["kind"] == "volume")

    def write(self, path: str | Path) -> None:
        """Write plan.json, whole or not at all."""
        with whole_file(path) as partial:
            text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False)
            Path(partial).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read plan.json.

        Raises:
            ValueError: it is not a plan of this version.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise KeyError("format")
            content["choices"] = {name: Choice(**choice) for name, choice in content["choices"].items()}
            return cls(**content)
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} must be a plan that `amsam train` wrote, got other content ({error}).") from error

    def lines(self) -> list[str]:
        """The plan in words, a line for each choice."""
        lines = []
        for name, choice in self.choices.items():
            option = f" [{choice.option}]" if choice.option else ""
            lines.append(f"{name}: {said(choice.value)} - {choice.reason}{option}")
        return lines


def runs_key(method: str) -> str:
    """Under which a plan's steps hold how many trainings of a method are averaged."""
    return f"{method}, runs"


def said(value: Any) -> str:
    """A value of a choice as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {said(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(said, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def choose(
    seen: Fingerprint,
    *,
    side: int | None = None,
    intensity: Mapping[str, Any] | None = None,
    mirrors: Sequence[str] | None = None,
    neighbours: int | None = None,
    axis: str | None = None,
    encoder: str | None = None,
) -> dict[str, Choice]:
    """What the plan settles from what the cases are like; an argument that is given settles it otherwise.

    Args:
        seen: the cases.
        side: of SAM's square.
        intensity: arguments of `Intensity`.
        mirrors: of "horizontal", "vertical".
        neighbours: slices before and after that are channels, 0 or 1.
        axis: that slices follow, see `SliceView.of`.
        encoder: which part of it `plain` trains, "late" or "full".

    Raises:
        ValueError: another encoder.
    """
    if encoder not in (None, *TRAINED):
        raise ValueError(f"encoder must be one of {', '.join(TRAINED)}, got {encoder!r}.")
    given = "as told"
    chosen = {
        "modality": _modality(seen),
        "intensity": Choice(dict(intensity), given, "--intensity") if intensity else _intensity(seen),
        "side": Choice(side, given, "--side") if side else _side(seen),
        "mirrors": Choice(list(mirrors), given, "--mirrors") if mirrors is not None else _mirrors(seen),
        "objects": _objects(seen),
        "encoder": Choice(encoder, given, "--encoder") if encoder else _encoder(seen),
        "backbone": Choice("vit_t", "MobileSAM's encoder is small enough to train as a whole on a processor"),
    }
    if seen.kind == "volume":
        chosen["axis"] = Choice(axis, given, "--axis") if axis is not None else _axis(seen)
        told = Choice(neighbours, given, "--neighbours") if neighbours is not None else None
        chosen["neighbours"] = told or _neighbours(seen)
    chosen["window"] = _window(chosen["side"].value)
    chosen["batch"] = _batch(chosen["window"].value or chosen["side"].value)
    return chosen


def _is_ct(seen: Fingerprint) -> bool:
    return seen.kind == "volume" and seen.values[0] <= -200 and seen.values[1] >= 200


def _modality(seen: Fingerprint) -> Choice:
    low, high = (f"{value:g}" for value in seen.values)
    if _is_ct(seen):
        return Choice("CT", f"volumes with values from {low} to {high}, as Hounsfield units")
    if seen.kind == "volume":
        return Choice("MR", f"volumes with values from {low} to {high}, which are no Hounsfield units")
    return Choice("colour" if seen.colour else "grey", f"pictures with values from {low} to {high}")


def _intensity(seen: Fingerprint) -> Choice:
    if _is_ct(seen):
        room = max(50.0, 0.25 * (seen.labelled[1] - seen.labelled[0]))
        low, high = (float(round(end)) for end in (seen.labelled[0] - room, seen.labelled[1] + room))
        reason = f"labelled voxels lie between {seen.labelled[0]:g} and {seen.labelled[1]:g}"
        return Choice({"mode": "hu_window", "low": max(low, -1024.0), "high": high}, reason, "--intensity")
    if seen.kind == "volume":
        return Choice(
            {"mode": "percentile"}, "values of MR have no unit, so each volume has its own scale", "--intensity"
        )
    return Choice({"mode": "bit_depth"}, "pictures are as bright as they are stored", "--intensity")


def _side(seen: Fingerprint) -> Choice:
    """The square: near the image's size, and large enough for what is thin, up to what the budget bears."""
    near = next((side for side in SIDES[:2] if side >= 1.3 * seen.longest), SIDES[1])
    most = min(SIDES[-1], seen.longest) if seen.kind == "picture" else min(448, 4 * seen.longest)
    finest = min((facts.thickness for facts in seen.classes.values() if facts.cases), default=1.0)
    fitting = [side for side in SIDES if near <= side <= max(near, most)]
    side = next((one for one in fitting if finest * one >= FINE), fitting[-1])
    if seen.kind == "volume" and len(seen.classes) > FEW and side > near >= NEARLY * seen.longest:
        reason = f"enough for slices of {seen.longest} pixels, and quick, which {len(seen.classes)} classes need"
        return Choice(near, reason, "--side")
    many = max((facts.objects for facts in seen.classes.values()), default=0.0)
    if seen.kind == "picture" and many >= MANY and side <= WHOLE < fitting[-1]:
        side = next(one for one in fitting if one > WHOLE)
        reason = f"pictures hold about {many:.0f} objects of a class, which are seen a few at a time"
    elif side > near:
        reason = f"the thinnest class is about {100 * finest:.1f} % of the longest side thick"
    elif seen.longest < near:
        reason = f"slices of {seen.longest} pixels are magnified" if seen.kind == "volume" else "pictures are small"
    else:
        reason = f"enough for objects about {100 * finest:.0f} % of the longest side thick, and quick"
    return Choice(side, reason, "--side")


def _window(side: int) -> Choice:
    if side <= WHOLE:
        return Choice(0, "whole images train")
    return Choice(WINDOW, "parts of the square train, as large in pixels; the whole of it is segmented")


def _mirrors(seen: Fingerprint) -> Choice:
    pair = _sided(seen.classes)
    if pair is not None:
        return Choice([], f"{pair[0]} and {pair[1]} would be confused", "--mirrors")
    if seen.kind == "volume" and len(seen.classes) > FEW:
        return Choice([], "a body with many organs has a left and a right side", "--mirrors")
    if seen.kind == "volume":
        return Choice(["horizontal"], "a structure of the other side is a mirror image", "--mirrors")
    return Choice(["horizontal", "vertical"], "a mirrored picture is as good a picture", "--mirrors")


def _sided(names: Mapping[str, Any]) -> tuple[str, str] | None:
    """Two classes whose names differ by their side alone."""
    words = {name: tuple(re.split(r"[\W_]+", name.casefold())) for name in names}
    for first, second in SIDED:
        for name, parts in words.items():
            other = tuple(second if part == first else part for part in parts)
            if first in parts and (twin := next((one for one, its in words.items() if its == other), None)):
                return name, twin
    return None


def _encoder(seen: Fingerprint) -> Choice:
    if seen.kind == "volume":
        return Choice(
            "late", "plain trains its later half in 0.7 of the time, and volumes want many steps", "--encoder"
        )
    return Choice("full", "plain trains all of it, since a few pictures are soon learned", "--encoder")


def _axis(seen: Fingerprint) -> Choice:
    if seen.plane:
        return Choice(seen.plane, f"slices of all volumes are {seen.plane}", "--axis")
    return Choice("thickest", "volumes differ in the plane of their slices, or do not tell it", "--axis")


def _neighbours(seen: Fingerprint) -> Choice:
    if seen.depth < 16:
        return Choice(0, f"{seen.depth} slices lie far apart", "--neighbours")
    if seen.spacing_mm is not None and seen.spacing_mm[0] > 4 * max(seen.spacing_mm[1:]):
        return Choice(
            0, f"slices lie {seen.spacing_mm[0]:g} mm apart, pixels {max(seen.spacing_mm[1:]):g} mm", "--neighbours"
        )
    return Choice(1, "the slices before and after are seen as colours", "--neighbours")


def _objects(seen: Fingerprint) -> Choice:
    counts = {name: facts.objects for name, facts in seen.classes.items()}
    return Choice(
        counts, "connected parts of a class in a slice" if seen.kind == "volume" else "connected parts of a class"
    )


def _batch(side: int) -> Choice:
    return Choice(8 if side <= 112 else 4 if side <= 224 else 2, f"for {side} x {side} pixels")
