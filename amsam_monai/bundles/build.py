"""Bundles from recipes: complete, stand-alone, without Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from amsam_monai.bundles.cards import large_files, metadata, model_card
from amsam_monai.bundles.prose import plain, write
from amsam_monai.bundles.recipes import FOLDER, Recipe, read_recipe
from amsam_monai.data.files.atomic import whole_file

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
        recipe: a name of `recipe_names`, or a file of one's own.
        out: folder of the bundle.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: no such recipe or layer.
        ValueError: a recipe that says what recipes do not know, or settings that do not fit.
        FileExistsError: the folder holds something else than a bundle.
    """
    out = Path(out)
    texts = bundle_files(read_recipe(recipe))
    if out.is_dir() and any(out.iterdir()) and not (out / "configs" / "metadata.json").is_file():
        raise FileExistsError(f"{out} must be a bundle or an empty folder, got other files; name another folder.")
    for name, text in texts.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out / name) as partial:
            Path(partial).write_text(text, encoding="utf-8", newline="\n")
    for left in sorted(stale_files(out, texts)):
        left.unlink()
    (out / "models").mkdir(exist_ok=True)
    return out


def stale_files(out: Path, texts: dict[str, str]) -> set[Path]:
    """Configs in a bundle that its recipe no longer gives."""
    return {file for file in (out / "configs").glob("*") if f"configs/{file.name}" not in texts}


def bundle_files(recipe: Recipe) -> dict[str, str]:
    """Texts of all files of a bundle, by path."""
    texts = {f"configs/{name}": write(tree) for name, tree in recipe.files.items() if name.endswith(".yaml")}
    texts["configs/train.json"] = _json(plain(recipe.files["train.yaml"]))  # monai.bundle.load reads no YAML
    texts["configs/metadata.json"] = _json(metadata(recipe))
    texts["configs/logging.conf"] = LOGGING
    texts["docs/README.md"] = model_card(recipe)
    texts["large_files.yml"] = large_files(recipe)
    texts["LICENSE"] = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    return texts


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
