"""A bundle built from a recipe round a nano SAM: small, and yet with its own training."""

from pathlib import Path

import torch

RECIPE = """
name: {name}
method: {method}
images: volumes
words: {{title: Balls, few: balls, layout: volumes, scans: volumes, modality: MR}}
train.yaml:
  settings#sam: {{backbone: vit_nano, weights: {weights}, image_size: 64}}
  settings#classes: {classes}
  settings#intensity: {{mode: percentile}}
  precision: float32
  {more}
  datalist: []
refine.yaml: {{learning_rate: 0.001}}
metadata.json: {{task: Balls, data_source: none}}
"""
MORE = {
    "amsam": ["settings#detector: null"],
    "aisam": ["window: 0", "settings#arguments: {depth: 1, num_points: 2, gate: false}"],
    "autosam": ["settings#arguments: {backbone_weights: null, tuned: false}", "views: 1"],
}


def write_trainable_bundle(folder: Path, method: str, *, name: str = "balls", classes: str = "{ball: 6}") -> Path:
    """Write the bundle with a random adapter; `classes` are names with their values in label files."""
    from amsam_monai.bundles.build import build_bundle
    from amsam_monai.bundles.network import build_network
    from amsam_monai.bundles.recipes import read_recipe
    from amsam_monai.handlers.checkpoints import save_adapter
    from amsam_monai.networks.sam import build_sam

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    torch.save(build_sam("vit_nano", image_size=64).state_dict(), folder / "nano_sam.pth")
    recipe = folder / f"{name}.yaml"
    more = "\n  ".join(MORE[method])
    weights = folder / "nano_sam.pth"
    text = RECIPE.format(name=name, method=method, weights=weights, classes=classes, more=more)
    recipe.write_text(text, encoding="utf-8")
    root = build_bundle(recipe, folder / name)
    settings = read_recipe(recipe).settings
    save_adapter(build_network(settings), root / "models" / "model.pt", settings=settings)
    return root
