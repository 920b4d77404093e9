"""A mean of models and the models of its members: one from the others, file by file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amsam_monai.bundles.model_file import ModelFile, read_model, write_model
from amsam_monai.bundles.settings import Settings
from amsam_monai.networks.detector.licence import licence_of

SHARED = ("classes", "resize", "intensity", "slices", "largest_component", "label_values")  # of all members


def mean_settings(members: Sequence[Settings]) -> Settings:
    """The settings of the mean of networks.

    Raises:
        ValueError: the members have other classes, framing, intensity, slices or SAM than the first; squares may
            differ; or two have a detector.
    """
    first = members[0]
    for member in members[1:]:
        other = [name for name in SHARED if getattr(member, name) != getattr(first, name)]
        if _without_size(member.sam) != _without_size(first.sam):
            other.append("sam")
        if other or list(member.classes) != list(first.classes):
            raise ValueError(f"members of a mean must agree in {', '.join((*SHARED, 'sam'))}, they differ in {other}.")
    detectors = [member.detector for member in members if member.detector is not None]
    if len(detectors) > 1:
        raise ValueError("members of a mean must have one detector at most, got several.")
    said = [
        {
            "system": member.system,
            "image_size": None if member.image_size == first.image_size else member.image_size,
            "arguments": member.arguments,
            "detector": member.detector is not None,
        }
        for member in members
    ]
    block = {"system": "mean", "arguments": {"members": said}, "detector": next(iter(detectors), None)}
    return Settings.of({**first.to_mapping(), **block, "limits": None, "quality": None})


def _without_size(sam: Mapping[str, Any]) -> dict[str, Any]:
    return {"weights": None, "normalise": None, **sam, "image_size": 0}


def member_settings(settings: Settings) -> list[Settings]:
    """The settings of each member of a mean."""
    return [
        replace(
            settings,
            system=member["system"],
            sam={**settings.sam, "image_size": member["image_size"] or settings.image_size},
            arguments=member["arguments"],
            detector=settings.detector if member["detector"] else None,
            limits=None,
            quality=None,
        )
        for member in settings.arguments["members"]
    ]


def join_models(files: Sequence[str | Path], path: str | Path) -> Path:
    """Write the model of the mean of models, with the detector that one of them has beside it.

    Args:
        files: models of the members.
        path: the model to write.

    Raises:
        FileNotFoundError, ValueError: as `read_model` and `mean_settings`; other weights of SAM than the first's.
    """
    models, path = [read_model(file) for file in files], Path(path)
    settings = mean_settings([model.settings for model in models])
    if any(model.made.get("sam") != models[0].made.get("sam") for model in models):
        raise ValueError(f"members of a mean must have been trained on one SAM, {path} is not written.")
    adapter = {
        f"members.{at}.{name}": value for at, model in enumerate(models) for name, value in model.adapter.items()
    }
    made: dict[str, Any] = {name: models[0].made[name] for name in ("sam", "recipe") if name in models[0].made}
    path.parent.mkdir(parents=True, exist_ok=True)
    for model in models:
        if model.settings.detector is not None:
            made["detector_sha256"] = model.made.get("detector_sha256")
            _copy_detector(model.path.parent, path.parent, model.settings)
    write_model(path, adapter, settings, made=made)
    return path


def split_model(path: str | Path, files: Sequence[str | Path]) -> list[Path]:
    """Write the models of a mean's members, with the detector beside that which takes it.

    Args:
        path: the mean's model.
        files: the models to write.
    """
    whole, written = read_model(path), [Path(file) for file in files]
    for at, (file, settings) in enumerate(zip(written, member_settings(whole.settings), strict=True)):
        start = f"members.{at}."
        adapter = {name[len(start) :]: value for name, value in whole.adapter.items() if name.startswith(start)}
        file.parent.mkdir(parents=True, exist_ok=True)
        if settings.detector is not None:
            _copy_detector(whole.path.parent, file.parent, settings)
        write_model(file, adapter, settings, made=_made_of_member(whole, settings))
    return written


def _made_of_member(whole: ModelFile, settings: Settings) -> dict[str, Any]:
    names = ("sam", "recipe") if settings.detector is None else ("sam", "recipe", "detector_sha256")
    return {name: whole.made[name] for name in names if name in whole.made}


def _copy_detector(source: Path, target: Path, settings: Settings) -> None:
    name = str((settings.detector or {})["file"])
    if source.resolve() != target.resolve():
        shutil.copyfile(source / name, target / name)
        if (licence := licence_of(source / name)).is_file():
            shutil.copyfile(licence, licence_of(target / name))
