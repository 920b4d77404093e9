"""A trained model written for other runtimes, and compared with PyTorch before it is there."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amsam_monai.bundles.load import LoadedBundle
from amsam_monai.bundles.model import Model, load
from amsam_monai.data.files.atomic import check_writable, partial_beside, room_for, taken
from amsam_monai.graphs.contents import FORMAT, SETTINGS, about_model, about_network
from amsam_monai.graphs.examples import compared, recorded
from amsam_monai.graphs.formats import FORMATS, Format
from amsam_monai.networks.detector.detector import BoxDetector
from amsam_monai.networks.detector.licence import write_licence
from amsam_monai.networks.systems.graphs import Graph, graphs_of
from amsam_monai.networks.systems.mean import Mean
from amsam_monai.networks.systems.system import System
from amsam_monai.networks.weights.store import digest

CLOSE = 1e-3  # logits, embeddings and predicted IoU
CLOSE_BOXES = 0.05  # pixels of the square


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        folder: where it is.
        settings: what settings.json says.
        left_out: graphs that the system does not have, and why.
    """

    folder: Path
    settings: dict[str, Any]
    left_out: dict[str, str]

    @property
    def differences(self) -> dict[str, float]:
        """By file, the largest difference from PyTorch."""
        graphs = [graph for network in self.settings["networks"] for graph in network["graphs"].values()]
        return {graph["file"]: max(graph["differences"].values()) for graph in graphs}


def export(
    model: str | os.PathLike[str] | Model,
    out: str | os.PathLike[str],
    *,
    format: str = "onnx",
    settings: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a trained model as graphs for other runtimes, with a settings.json that says all a runtime must know.

    Every file is compared with PyTorch on noise and on a picture, for other numbers of images and prompts than it was
    recorded with; where one differs by more than 0.001, nothing is left.

    Args:
        model: a bundle by name or path, a model file, or what `load` gave.
        out: a new or empty folder.
        format: onnx, torchscript or openvino.
        settings: a part of a block of settings, such as {"arguments": {"light": True}}; not with what `load` gave.

    Raises:
        ValueError: an unknown format, a system that no graph can hold, or a file that differs from PyTorch.
        FileNotFoundError: as `load`.
        FileExistsError: the folder holds something.
        ImportError: a package of the format is missing.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}.")
    out = Path(out)
    FORMATS[format].check()
    if taken(out):
        raise FileExistsError(f"{out} must be a new or empty folder, got one with files; name another.")
    check_writable(out)
    if isinstance(model, Model) and settings:
        raise ValueError("settings must go with a bundle or a file, got a loaded model; give them to `load`.")
    bundle = (model if isinstance(model, Model) else load(model, device="cpu", settings=settings)).bundle
    partial = partial_beside(out)
    try:
        with room_for(out):
            partial.mkdir(parents=True)
            written, left_out = _write(bundle, partial, format)
            if out.is_dir():
                out.rmdir()
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(out, written, left_out)


def _write(bundle: LoadedBundle, folder: Path, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Graphs and settings.json of a bundle, in a folder; what they say, and what was left out."""
    networks: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    systems = _systems(bundle.network)
    for number, system in enumerate(systems):
        prefix = f"member_{number}_" if len(systems) > 1 else ""
        graphs, missing = graphs_of(system)
        if prefix and graphs.pop("prompted", None) is not None:
            missing = {**missing, "prompted": "what a person prompts of a mean its members share among themselves"}
        files = _write_graphs(graphs, folder, prefix, FORMATS[name])
        networks.append(about_network(system, files))
        left_out |= {prefix + one: reason for one, reason in missing.items()}
    settings = {"format": FORMAT, "runtime": name, **about_model(bundle), "networks": networks}
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return settings, left_out


def _systems(network: Any) -> list[System]:
    """The systems whose probabilities are averaged, on the processor; one, or the members of a mean."""
    if next(network.parameters()).device.type != "cpu":
        network = copy.deepcopy(network).cpu()
    return list(network.systems) if isinstance(network, Mean) else [network]


def _write_graphs(graphs: Mapping[str, Graph], folder: Path, prefix: str, to: Format) -> dict[str, dict[str, Any]]:
    """The files of a system, each compared with PyTorch.

    Raises:
        ValueError: a file differs.
    """
    examples = recorded(graphs)  # also fills what a YOLO keeps of the sizes it saw
    for name, graph in graphs.items():
        to.write(graph.eval(), examples[name], folder / f"{prefix}{name}{to.suffix}")
    told: dict[str, dict[str, Any]] = {}
    runs = {name: to.load(folder / f"{prefix}{name}{to.suffix}") for name in graphs}
    for kind, inputs in compared(graphs):
        for name, graph in graphs.items():
            with torch.no_grad():
                wanted = graph(*inputs[name])
            found = runs[name](inputs[name])
            told.setdefault(name, {})[kind] = _difference(graph, prefix + name, kind, wanted, found)
    return {
        name: _about_file(graph, folder, f"{prefix}{name}{to.suffix}", told[name]) for name, graph in graphs.items()
    }


def _difference(graph: Graph, name: str, kind: str, wanted: Sequence[Tensor], found: Sequence[np.ndarray]) -> float:
    """The largest difference from PyTorch, infinite where NaN is not NaN.

    Raises:
        ValueError: it is too large.
    """
    largest = 0.0
    for output, one, other in zip(graph.outputs, wanted, found, strict=True):
        difference = largest_difference(one.numpy(), other)
        close = CLOSE_BOXES if output == "boxes" else CLOSE
        if not difference < close:
            raise ValueError(
                f"{name}: {output} must be within {close} of PyTorch's, differs by {difference:.3g} on the input "
                f"{kind!r}; nothing is written. Try another format, and newer onnx and onnxruntime."
            )
        largest = max(largest, difference)
    return largest


def largest_difference(wanted: np.ndarray, found: np.ndarray) -> float:
    """Of two arrays of one shape; infinite where one alone is NaN, or the shapes differ."""
    if wanted.shape != found.shape or (np.isnan(wanted) != np.isnan(found)).any():
        return float("inf")
    return float(np.nanmax(np.abs(wanted - found), initial=0.0))


def _about_file(graph: Graph, folder: Path, file: str, differences: Mapping[str, float]) -> dict[str, Any]:
    """What settings.json says of a graph; a YOLO's licence is put beside it."""
    if isinstance(getattr(graph.system, "detector", None), BoxDetector) and "detector" in file:
        write_licence(folder / file)
    stem = Path(file).stem
    digests = {path.name: digest(path) for path in sorted(folder.glob(f"{stem}.*")) if path.suffix != ".LICENSE"}
    return {
        "file": file,
        "sha256": digests,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "differences": dict(differences),
    }
