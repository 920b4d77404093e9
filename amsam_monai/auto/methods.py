"""The methods that are tried: each a recipe on data of your own, and what its training is told."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from amsam_monai.auto.plan import Plan
from amsam_monai.bundles.build import build_bundle
from amsam_monai.bundles.load import config_file, read_config
from amsam_monai.bundles.members import mean_settings
from amsam_monai.bundles.settings import Settings
from amsam_monai.data.files.atomic import whole_file

ANY = (0, 896)
FOLLOW = 0.7  # share of a volume's windows that lie about an object
SETTINGS = ("sam", "resize", "classes", "arguments", "detector", "intensity", "slices", "label_values")  # of a mean
EPOCHS = 20  # into which the steps are parted, for curves and for going on after a stop


@dataclass(frozen=True)
class Method:
    """A method on data of your own.

    Args:
        name: as --method takes it, and of its recipe.
        sides: least and most of SAM's square.
        most: steps, beyond which it learns a few cases by heart.
        runs: trainings from different seeds whose weights are averaged, where there is time for more than one.
        passes: over the area of all pictures, beyond which it learns them by heart; 0 where that is not so.
        least: steps of a trial, below which its score tells nothing.
        views: of each image whose embeddings are kept, at most; 0 where the encoder trains.
        detector: whether one is fitted first.
        weights: that it needs beside SAM's.
    """

    name: str
    sides: tuple[int, int]
    most: int
    least: int
    runs: int = 1
    passes: int = 0
    views: int = 0
    detector: bool = False
    weights: tuple[str, ...] = ()


METHODS: dict[str, Method] = {
    one.name: one
    for one in (
        Method("plain", ANY, 1500, 80, runs=3, passes=150),
        Method("autosam", (224, 448), 1500, 40, views=5, weights=("efficientnet_lite0",)),
        Method("aisam", ANY, 1500, 200),  # its prompter starts from nothing
        Method("amsam", (224, 448), 600, 40, views=4, detector=True),
    )
}


def most_steps(method: str, plan: Plan) -> int:
    """Steps that help a method on the cases of a plan; a window passes over its part of a picture alone."""
    said = METHODS[method]
    if not said.passes or plan.volumes:
        return said.most
    part = ((plan["window"] or plan["side"]) / plan["side"]) ** 2
    return min(said.most, max(said.least, round(said.passes * len(plan.cases) / (plan["batch"] * part))))


def runs_at_most(method: str, plan: Plan) -> int:
    """Trainings of a method whose weights are averaged at most, as the plan says."""
    told = plan.choices.get("runs")  # plans of before do not say
    return 1 if METHODS[method].runs == 1 or told is None else int(told.value)


JOIN = "+"  # between the names of two methods whose mean is meant


def members(name: str) -> list[str]:
    """The methods that a name stands for: one, or the two of a mean."""
    return name.split(JOIN)


def check_method(name: str) -> None:
    """Refuse what is no method and no mean of two.

    Raises:
        ValueError: it is none.
    """
    parts = members(name)
    if len(parts) > 2 or len(set(parts)) < len(parts) or not set(parts) <= set(METHODS):
        raise ValueError(
            f"method must be one of {', '.join(METHODS)}, or two of them for their mean, such as plain+amsam, got "
            f"{name!r}."
        )


def recipe_text(plan: Plan, method: Method) -> str:
    """The recipe of a method for a plan, as YAML."""
    side = min(max(plan["side"], method.sides[0]), method.sides[1])
    train: dict[str, Any] = {
        "settings#sam": {"backbone": "vit_t", "weights": "mobile_sam", "image_size": side},
        "settings#classes": dict(plan.classes),
        "settings#intensity": dict(plan["intensity"]),
        "settings#label_values": "own",
    }
    if isinstance(plan["backbone"], dict):
        train["settings#sam"] = {**train["settings#sam"], **plan["backbone"]}
    slices: dict[str, Any] = {"flips": list(plan["mirrors"])} if plan["mirrors"] else {}
    if plan.volumes:
        slices |= {"axis": plan["axis"], "neighbours": plan["neighbours"]}
        train |= {"train_samples#axis": plan["axis"], "validate#inferer#axis": plan["axis"]}
    if slices:
        train["settings#slices"] = slices
    if plan.volumes and method.name != "plain":
        train["train_samples#neighbours"] = plan["neighbours"]
    if plan.volumes or method.name == "plain":
        train["train_samples#progress"] = "@bars"
    if not method.views:  # the encoder trains
        train |= {"window": plan["window"], "follow": FOLLOW if plan.volumes and plan["window"] else 0}
    both = len(plan["mirrors"]) == 2  # then right angles are as good, too
    if method.name == "plain":
        encoder = plan.choices.get("encoder")  # plans of before do not say
        train["settings#arguments#encoder"] = "full" if encoder is None else encoder.value
        train |= {"turn": 0.75 if both else 0, "mirror": 0.5 if plan["mirrors"] == ["horizontal"] else 0}
    if method.name == "autosam":
        train["turns"] = both
    if method.detector:
        told = plan.choices.get("detector")  # plans of before do not say
        train["settings#detector"] = {"file": "detector.pth", "architecture": "yolo" if told is None else told.value}
    train |= {"batch_size": plan["batch"] if side == plan["side"] else 4}
    return _recipe(plan, method.name, train)


def _recipe(plan: Plan, method: str, train: Mapping[str, Any], **words: str) -> str:
    """A recipe on data of one's own."""
    images = "volumes" if plan.volumes else "pictures"
    words = {
        "title": plan.name,
        "scans": images,
        "layout": "images with labels, in any layout that `amsam prepare own` reads",
        "modality": plan["modality"],
        **words,
    }
    recipe = {
        "name": plan.name,
        "method": method,
        "images": images,
        "more": ["own"],
        "words": words,
        "train.yaml": dict(train),
    }
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)


def build(plan: Plan, method: str, folder: str | Path) -> Path:
    """The bundle of a method for a plan; its recipe is kept beside, as recipe.yaml.

    Raises:
        ValueError: no such method.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    root = Path(folder)
    _build(recipe_text(plan, METHODS[method]), root)
    return root


def _build(text: str, root: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        recipe = Path(made) / "recipe.yaml"
        recipe.write_text(text, encoding="utf-8")
        shutil.copytree(build_bundle(recipe, Path(made) / "bundle"), root, dirs_exist_ok=True)
    with whole_file(root / "recipe.yaml") as partial:
        Path(partial).write_text(text, encoding="utf-8")


def build_mean(plan: Plan, methods: Sequence[str], folder: str | Path) -> Path:
    """The bundle of the mean of methods for a plan, with those of its members in members/.

    Raises:
        ValueError: no such method.
    """
    root, blocks = Path(folder), []
    for method in methods:
        bundle = build(plan, method, root / "members" / method)
        blocks.append(Settings.of(read_config(config_file(bundle, "train"))["settings"]))
    settings = mean_settings(blocks).to_mapping()
    train = {f"settings#{name}": settings[name] for name in SETTINGS}
    wanted = " ".join(["mobile_sam", *(one for method in methods for one in METHODS[method].weights)])
    text = _recipe(plan, "mean", {"members": list(methods), **train}, members=" and ".join(methods), wanted=wanted)
    _build(text, root)
    return root


def overrides(method: str, steps: int, samples: int, detector_steps: int = 0) -> dict[str, Any]:
    """What a training of so many steps is told.

    Args:
        method: a name of METHODS.
        steps: of the optimiser.
        samples: training slices or pictures.
        detector_steps: where a detector is fitted first.
    """
    epochs, said = max(1, min(EPOCHS, steps)), METHODS[method]
    told: dict[str, Any] = {
        "max_epochs": epochs,
        "steps_per_epoch": max(1, round(steps / epochs)),
        "val": 0,
        "bars": False,
    }
    if said.views:  # about as many as are seen
        told["views"] = max(1, min(said.views, 4 * steps // max(1, samples)))
    if said.detector:
        told["detector_steps"] = max(1, detector_steps)
    return told
