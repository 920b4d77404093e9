"""Bundles from recipes: complete, stand-alone, without Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from amsam_monai.bundles.cards import detector_files, large_files, metadata, model_card
from amsam_monai.bundles.prose import plain, write
from amsam_monai.bundles.recipes import FOLDER, Recipe, read_recipe
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.networks.detector.licence import licence_of, licence_text

WRITTEN = {"multi_gpu_train.yaml", "train.json"}  # beside the overlays'

LOGGING = """[loggers]
keys=root

[handlers]
keys=consoleHandler

[formatters]
keys=fullFormatter

[logger_root]
level=INFO
handlers=consoleHandler

[handler_consoleHandler]
class=StreamHandler
level=INFO
formatter=fullFormatter
args=(sys.stdout,)

[formatter_fullFormatter]
format=%(asctime)s - %(name)s - %(levelname)s - %(message)s
"""


def build_bundle(recipe: str | Path, out: str | Path) -> Path:
    """Write the bundle of a recipe; what is in models/ stays, so that a bundle can be built anew where it is.

    Args:
        recipe: a name of `recipe_names`, or a file of your own.
        out: folder of the bundle.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: no such recipe or layer.
        ValueError: a recipe that says what recipes do not know, or settings that do not fit.
        FileExistsError: the folder holds something else than a bundle, or the bundle of another recipe.
    """
    out = Path(out)
    texts = bundle_files(read_recipe(recipe))
    if out.is_dir() and any(out.iterdir()) and not (out / "configs" / "metadata.json").is_file():
        raise FileExistsError(f"{out} must be a bundle or an empty folder, got other files; name another folder.")
    _refuse_another(out, texts)
    for name, text in texts.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out / name) as partial:
            Path(partial).write_text(text, encoding="utf-8", newline="\n")
    for left in sorted(stale_files(out, texts)):
        left.unlink()
    (out / "models").mkdir(exist_ok=True)
    return out


def stale_files(out: Path, texts: dict[str, str]) -> set[Path]:
    """Configs in a bundle that its recipe no longer gives; a user's own, of names that no recipe writes, stay."""
    written = {f"{path.stem}.yaml" for path in (FOLDER / "overlays").glob("*.yaml")} | WRITTEN
    found = (out / "configs" / name for name in written)
    return {file for file in found if file.is_file() and f"configs/{file.name}" not in texts}


def _refuse_another(out: Path, texts: dict[str, str]) -> None:
    """Refuse to write over the bundle of another recipe, whose trained model would then stand under a wrong name.

    Raises:
        FileExistsError: the folder holds one.
    """
    there = out / "configs" / "train.yaml"
    if not there.is_file():
        return
    have, want = (_name_in(text) for text in (there.read_text(encoding="utf-8"), texts["configs/train.yaml"]))
    if have is not None and have != want:
        raise FileExistsError(f"{out} holds the bundle {have}, got a recipe of {want}; name another folder.")


def _name_in(train: str) -> str | None:
    """The bundle's name as its train.yaml has it; None where that was changed by hand."""
    root = (yaml.safe_load(train) or {}).get("bundle_root")
    return root.get("name") if isinstance(root, dict) else None


def bundle_files(recipe: Recipe) -> dict[str, str]:
    """Texts of all files of a bundle, by path."""
    texts = {f"configs/{name}": write(tree) for name, tree in recipe.files.items() if name.endswith(".yaml")}
    texts["configs/train.json"] = _json(plain(recipe.files["train.yaml"]))  # monai.bundle.load reads no YAML
    texts["configs/metadata.json"] = _json(metadata(recipe))
    texts["configs/logging.conf"] = LOGGING
    texts["docs/README.md"] = model_card(recipe)
    texts["large_files.yml"] = large_files(recipe)
    texts["LICENSE"] = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    for file in detector_files(recipe):
        texts[licence_of(file).as_posix()] = licence_text()
    return texts


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
