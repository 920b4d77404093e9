"""Recipes: what a bundle's files say, from the layers that a data set's recipe names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from amsam_monai.bundles.layers import merge, positions, refuse_paths_twice, resolved, with_lists
from amsam_monai.bundles.prose import Entry, Map, Scalar, Seq, Value, in_yaml, plain, read, wrapped

FOLDER = Path(__file__).resolve().parents[1] / "recipes"
KEYS = ("name", "method", "images", "more", "overlays", "words")
ALWAYS = ("refine", "inference_trt")  # overlays that every bundle has
WHOLE = ("train.yaml", "inference.yaml", "metadata.json")  # the other configs go on top of train.yaml


@dataclass
class Recipe:
    """What a bundle is built from.

    Args:
        name: of the bundle.
        method: amsam, aisam or autosam.
        images: pictures or volumes.
        overlays: names of further configs.
        words: what stands for <words> in comments and texts.
        files: trees of the bundle's files, by name, with MONAI's lists.
        notes: prose of the model card, Markdown; empty where there is none.
    """

    name: str
    method: str
    images: str
    overlays: list[str]
    words: dict[str, str]
    files: dict[str, Map] = field(default_factory=dict)
    notes: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The block of settings, as plain values."""
        block: dict[str, Any] = plain(self.files["train.yaml"].entries["settings"].value)
        return block


def recipe_names() -> list[str]:
    """Names of the data sets' recipes in the package."""
    return sorted(file.stem for file in (FOLDER / "datasets").glob("*.yaml"))


def find_recipe(recipe: str | Path) -> Path:
    """A data set's recipe: a file, or a name of `recipe_names`; also the name of the bundle that it makes.

    Raises:
        FileNotFoundError: there is no such recipe; the message lists the names.
    """
    if Path(recipe).is_file():
        return Path(recipe)
    name = str(recipe).removesuffix("_segmentation")
    if name in recipe_names():
        return FOLDER / "datasets" / f"{name}.yaml"
    raise FileNotFoundError(f"there is no recipe {recipe}. Give a file, or one of: {', '.join(recipe_names())}.")


def read_recipe(recipe: str | Path) -> Recipe:
    """Read a recipe with the layers that it names.

    They are common.yaml, IMAGES.yaml, METHOD.yaml, METHOD_IMAGES.yaml, the `more`, each with MORE_METHOD.yaml, and the
    recipe itself.

    Raises:
        FileNotFoundError: no such recipe, or no layer of a name.
        ValueError: an entry that recipes do not have, one that is missing or stands there twice, an unknown overlay.
    """
    file = find_recipe(recipe)
    try:
        own = read(file.read_text(encoding="utf-8"))
        refuse_paths_twice(own)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    head = {key: plain(entry.value) for key, entry in own.entries.items() if key in KEYS}
    if missing := [key for key in ("name", "method", "images", "words") if key not in head]:
        raise ValueError(f"{file}: a recipe must have {', '.join(missing)}.")
    if not isinstance(head.get("overlays", []), list):
        raise ValueError(f"{file}: overlays must be a list of names, got {head['overlays']!r}.")
    overlays = list(dict.fromkeys([*head.get("overlays", []), *ALWAYS]))
    files = {f"{name}.yaml": _layer(f"overlays/{name}") or Map() for name in overlays}
    files |= {name: Map() for name in ("evaluate.yaml", *WHOLE)}
    for name in own.entries:  # of the layers beneath, some are for overlays that not every recipe has
        if name.endswith(".yaml") and name not in files:
            raise ValueError(f"{file}: a recipe must have no more than {', '.join((*KEYS, *files))}, got {name!r}.")
    words: dict[str, str] = {"name": head["name"]}
    layers = _layers(own, head)
    _refuse_unknown_overlays(file, overlays, layers)
    for layer in layers:
        for name, entry in layer.entries.items():
            if name == "words":
                words |= {key: str(text) for key, text in plain(entry.value).items()}
            elif name in files and isinstance(entry.value, Map):
                merge(files[name], entry.value, flat=name not in WHOLE)
            elif name not in KEYS and not name.endswith(".yaml"):
                known = ", ".join((*KEYS, *files))
                raise ValueError(f"{file}: a recipe must have no more than {known}, got {name!r}.")
    beside = file.with_suffix(".md")
    notes = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    return _finished(Recipe(head["name"], head["method"], head["images"], overlays, words, files, notes))


def _refuse_unknown_overlays(file: Path, overlays: list[str], layers: list[Map]) -> None:
    """Refuse overlays of which no layer says anything."""
    known = {path.stem for path in (FOLDER / "overlays").glob("*.yaml")}
    known |= {name.removesuffix(".yaml") for layer in layers for name in layer.entries if name.endswith(".yaml")}
    known -= {"evaluate", *(name.removesuffix(".yaml") for name in WHOLE)}
    if unknown := [str(name) for name in overlays if name not in known]:
        raise ValueError(f"{file}: overlays must be among {', '.join(sorted(known))}, got {', '.join(unknown)}.")


def _layer(name: str) -> Map | None:
    """A layer of the package, or None."""
    file = FOLDER / f"{name}.yaml"
    return read(file.read_text(encoding="utf-8")) if file.is_file() else None


def _layers(own: Map, head: dict[str, Any]) -> list[Map]:
    """What a recipe stands on, from the bottom up, and the recipe itself."""
    method, images = head["method"], head["images"]
    names = [("common", images, method), (f"{method}_{images}",)]
    for more in head.get("more", []):
        names += [(more,), (f"{more}_{method}",)]
    found: list[Map] = []
    for needed in names:
        for name in needed:
            layer = _layer(name)
            if layer is None and "_".join((method, images)) != name and not name.endswith(f"_{method}"):
                raise FileNotFoundError(f"there is no layer {name}.yaml among the recipes in {FOLDER}.")
            found += [layer] if layer is not None else []
    return [*found, own]


def _finished(recipe: Recipe) -> Recipe:
    """Words in, switches of the command line read, names of handlers turned into positions."""
    train = recipe.files["train.yaml"]
    classes = plain(train.entries["settings"].value)["classes"]
    legend = ", ".join(f"{index} {name}" for index, name in enumerate(["background", *classes]))
    recipe.words = {"legend": legend, **recipe.words}
    places = positions(train)
    switches: set[str] = set()
    for name in ["train.yaml", *(name for name in recipe.files if name != "train.yaml")]:
        tree = recipe.files[name]
        if name.endswith(".yaml"):
            switches |= {key for key, entry in tree.entries.items() if _is_switch(entry.value)}
            _say(tree, switches if name != "inference.yaml" else set())
            if name not in WHOLE:
                tree = resolved(tree, places)
            with_lists(tree)
        _fill(tree, recipe.words)
        recipe.files[name] = tree
    return recipe


def _is_switch(value: Value) -> bool:
    return isinstance(value, Scalar) and value.text in ("true", "false", "null")


def _say(value: Value, switches: set[str]) -> None:
    """Let "@switch" mean what the command line says, in place: `said` reads false, true and null."""
    children = value.entries.values() if isinstance(value, Map) else value.items if isinstance(value, Seq) else []
    for entry in children:
        if isinstance(entry.value, Scalar) and entry.value.text[2:-1] in switches and entry.value.text[:2] == '"@':
            entry.value.text = f'"$said({entry.value.text[1:-1]})"'
        _say(entry.value, switches)


def _fill(value: Value, words: dict[str, str]) -> None:
    """Put words in, in place."""
    if isinstance(value, Scalar):
        if (text := _filled(value.text, words)) != value.text:
            value.text = in_yaml(text, _filled(str(yaml.safe_load(value.text)), words))
        return
    for entry in list(value.entries.values() if isinstance(value, Map) else value.items):
        _fill_comments(entry, words)
        _fill(entry.value, words)


def _fill_comments(entry: Entry, words: dict[str, str]) -> None:
    words = {word: " ".join(meaning.splitlines()) for word, meaning in words.items()}
    entry.after = _filled(entry.after, words)
    filled = [_filled(line, words) for line in entry.before]
    entry.before = wrapped(filled, anew=True) if filled != entry.before else filled


def _filled(text: str, words: dict[str, str]) -> str:
    for _ in range(3):  # words may hold words
        for word, meaning in words.items():
            text = text.replace(f"<{word}>", meaning)
    return text
