"""What a bundle says of itself: metadata, model card, list of large files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from amsam_monai import __version__
from amsam_monai.bundles.prose import plain
from amsam_monai.bundles.recipes import Recipe
from amsam_monai.bundles.settings import Settings
from amsam_monai.networks.detector.licence import LICENCE, licence_of
from amsam_monai.networks.weights.catalogue import CATALOGUE
from amsam_monai.networks.weights.downloads import Url

ORDER = (
    "schema",
    "version",
    "changelog",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "name",
    "task",
    "description",
    "authors",
    "copyright",
    "licenses",
    "data_source",
    "data_type",
    "image_classes",
    "label_classes",
    "pred_classes",
    "intended_use",
    "references",
    "supported_apps",
    "network_data_format",
)


def metadata(recipe: Recipe) -> dict[str, Any]:
    """configs/metadata.json: what the recipe says, and classes and channels as the settings have them."""
    settings = Settings.of(recipe.settings)
    said: dict[str, Any] = plain(recipe.files["metadata.json"])
    names = ["background", *settings.classes]
    values = ["0 is background", *(f"{value} is {name}" for name, value in settings.classes.items())]
    channels = said.pop("channels")
    said["required_packages_version"] = {"amsam-monai": __version__, **said["required_packages_version"]}
    said |= {
        "licenses": licences(recipe),
        "name": f"{recipe.words['title']} with {recipe.words['method']}",
        "label_classes": ", ".join(values),
        "pred_classes": f"{len(names)} channels of logits: {', '.join(names)}",
        "supported_apps": {},
        "network_data_format": _data_format(recipe.words["modality"], channels, names),
    }
    return {key: said[key] for key in (*ORDER, *(key for key in said if key not in ORDER))}


def licences(recipe: Recipe) -> dict[str, str]:
    """Whose terms the bundle's files are under: the bundle's own, and those of files that are under others."""
    others = {file: f"{LICENCE}, see {licence_of(file).as_posix()}" for file in detector_files(recipe)}
    return {"bundle": "Apache-2.0, see LICENSE", **others}


def detector_files(recipe: Recipe) -> list[str]:
    """The files of a bundle that derive from Ultralytics' YOLO: its detector, and the one that this starts from."""
    detector = recipe.settings.get("detector")
    if detector is None or detector.get("architecture") == "embedding":
        return []
    start = recipe.files["train.yaml"].entries.get("detector_start")
    own = re.search(r"models/[\w.-]+\.pth", "" if start is None else str(plain(start.value)))
    return [f"models/{detector['file']}", *([own.group()] if own else [])]


def _data_format(modality: str, channels: list[str], names: list[str]) -> dict[str, Any]:
    common = {"spatial_shape": ["*", "*"], "dtype": "float32"}
    return {
        "inputs": {
            "image": {
                "type": "image",
                "format": "magnitude",
                "modality": modality,
                "num_channels": len(channels),
                **common,
                "value_range": [0, 1],
                "is_patch_data": False,
                "channel_def": {str(index): name for index, name in enumerate(channels)},
            }
        },
        "outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": len(names),
                **common,
                "value_range": [],
                "is_patch_data": False,
                "channel_def": {str(index): name for index, name in enumerate(names)},
            }
        },
    }


def large_files(recipe: Recipe) -> str:
    """large_files.yml: where SAM's weights come from."""
    name = recipe.settings["sam"]["weights"]
    if name not in CATALOGUE:  # a file of your own, or none
        return "large_files: []\n"
    item = CATALOGUE[name]
    url = next(source.address for source in item.sources if isinstance(source, Url))
    return (
        f"# Pretrained weights are fetched and verified by `amsam weights fetch {recipe.words['wanted']}`.\n"
        "# This file names the original for MONAI's own download_large_files.\n"
        "large_files:\n"
        f'  - path: "models/{Path(item.file).stem}.pth"\n'
        f'    url: "{url}"\n'
        f'    hash_val: "{item.digests["sha256"]}"\n'
        '    hash_type: "sha256"\n'
    )


def model_card(recipe: Recipe) -> str:
    """docs/README.md: the prose beside the recipe, with what the settings and the configs say."""
    name = recipe.name
    words, title = recipe.words, f"# {recipe.words['title']} with {recipe.words['method']}"
    notes = recipe.notes.strip() or _bare_notes(recipe)
    purpose = plain(recipe.files["metadata.json"])["intended_use"]
    outputs = f"{len(Settings.of(recipe.settings).classes) + 1} channels of logits at the size of image or slice"
    return f"""{title}

{notes}

## Output
{outputs}: {words["legend"]}. Result maps have the geometry of their images.

## Commands
```
amsam weights fetch {words["wanted"]}
{_run(["train"])} --dataset_dir DIR
{_overlay_commands(recipe)}{_evaluate_command(recipe)}{_run(["inference"])} --dataset_dir IMAGES --output_dir OUT
amsam segment IMAGES OUT --bundle {name}
amsam annotate IMAGES --bundle {name}
```
Lines with `monai.bundle` are for the bundle's folder. The values of `configs/train.yaml` can be overridden on the
command line, its `settings` too. `models/model.pt` keeps the settings it was trained with: what differs from them is
refused or, where it is only a default, logged. Interrupted training continues when the same command is given again.

## Intended use
{purpose}. This is no medical device. It takes {words["scans"]} alone; on other images its masks
mean nothing. Let a person look at every mask that matters: `amsam annotate` corrects it.
"""


def _bare_notes(recipe: Recipe) -> str:
    said = plain(recipe.files["metadata.json"])
    sections = {
        "Model overview": said["description"] + ".",
        "Data": said["data_source"],
        "Performance": recipe.words.get("performance", "Not measured."),
    }
    if files := detector_files(recipe):
        sections["Licences"] = "The bundle is Apache-2.0. " + " ".join(
            f"`{file}` derives from Ultralytics' YOLO and is {LICENCE}, whose text is `{licence_of(file).as_posix()}`."
            for file in files
        )
    return "\n\n".join(f"## {head}\n{text}" for head, text in sections.items())


def _evaluate_command(recipe: Recipe) -> str:
    """None for data of one's own, all of which trains."""
    return "" if "performance" in recipe.words else f"{_run(['train', 'evaluate'])} --dataset_dir DIR\n"


BY_ITSELF = ("again",)  # a configuration of its own, on top of none


def _overlay_commands(recipe: Recipe) -> str:
    lines = []
    for name in recipe.overlays:
        below = ["train", "bilevel_train"] if name == "paper" else [] if name in BY_ITSELF else ["train"]
        command = f"{_run([*below, name])} --dataset_dir DIR"
        if name.startswith("multi_gpu"):
            command = command.replace("python", "torchrun --standalone --nproc_per_node=2", 1)
        if name == "inference_trt":
            command = f"{_run(['inference', name])} --dataset_dir IMAGES --output_dir OUT"
        lines.append(f"{command}\n")
    return "".join(lines)


def _run(names: list[str]) -> str:
    files = [f"configs/{name}.yaml" for name in names]
    shown = files[0] if len(files) == 1 else '"[' + ",".join(f"'{file}'" for file in files) + ']"'
    return f"python -m monai.bundle run --config_file {shown}"
