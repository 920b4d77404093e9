"""A model that takes several trainings, each from the one before, and the mean of some of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amsam_monai.bundles.model_file import read_model, write_model
from amsam_monai.bundles.run import run_training
from amsam_monai.bundles.settings import differences
from amsam_monai.data.files.atomic import whole_file

logger = logging.getLogger(__name__)


def train_stages(
    bundle: str | Path,
    stages: Sequence[Mapping[str, Any]],
    folder: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Train a bundle several times, each time from the model of the training before.

    A stage whose model is in the folder already is not run again, so that what was interrupted goes on.

    Args:
        bundle: path or name.
        stages: {"name", "configs", "overrides"}, see `run_training`; the name is that of the model: NAME.pt.
        folder: where models and output go.
        overrides: of all stages; a stage's own go before them.

    Returns:
        The models, one a stage.
    """
    folder = Path(folder)
    models: list[Path] = []
    for stage in stages:
        model, root = folder / f"{stage['name']}.pt", folder / str(stage["name"])
        if not model.is_file():
            if models:  # where configs that go on look for it
                (root / "models").mkdir(parents=True, exist_ok=True)
                shutil.copyfile(models[-1], root / "models" / "model.pt")
            own = {**(overrides or {}), **stage.get("overrides", {})}
            result = run_training(bundle, configs=stage.get("configs", ("train",)), root=root, overrides=own)
            with whole_file(model) as partial:
                shutil.copyfile(result.weights, partial)
        logger.info("stage %s: %s", stage["name"], model)
        models.append(model)
    return models


def mean_model(files: Sequence[str | Path], path: str | Path, *, keep: Mapping[str, str | Path] | None = None) -> Path:
    """Write the model whose weights are the mean of several models'.

    Args:
        files: model files of one network.
        path: the model to write.
        keep: beginning of a weight's name -> model file that it is taken from as it is, such as "classifier.".

    Raises:
        ValueError: the models have other settings or weights than the first.
    """
    models = [read_model(file) for file in files]
    kept = {start: read_model(file) for start, file in (keep or {}).items()}
    last = models[-1]
    for model in [*models, *kept.values()]:
        if (other := differences(last.settings, model.settings)) or model.adapter.keys() != last.adapter.keys():
            what = ", ".join(name for name, _, _ in other) or "their weights' names"
            raise ValueError(f"models must be of one network, {model.path} and {last.path} differ in {what}.")
    mean = {}
    for name, value in last.adapter.items():
        source = next((model for start, model in kept.items() if name.startswith(start)), None)
        total = sum(model.adapter[name].float() for model in models) / len(models)
        mean[name] = source.adapter[name] if source is not None else total.to(value.dtype)  # type: ignore[union-attr]
    made = {key: value for key, value in last.made.items() if key not in ("digest", "package")}
    write_model(path, mean, last.settings, made=made)
    return Path(path)
