"""Ultralytics' YOLO: its networks, loss and checkpoints. The only importer of ultralytics.

Ultralytics is AGPL-3.0 and an optional dependency; nothing here imports it before a detector is asked for.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn

from amsam_monai.networks.detector.architecture import check_weights, known_architecture
from amsam_monai.networks.weights.finite import not_finite
from amsam_monai.networks.weights.store import check_catalogued


def build_model(architecture: Mapping[str, Any], num_classes: int, *, dense: bool = True) -> nn.Module:
    """An Ultralytics detection model with random weights, in evaluation mode.

    Args:
        architecture: its configuration, as Ultralytics keeps it in a model's `yaml`.
        num_classes: classes that it tells apart.
        dense: leave out YOLO26's second, one-box-per-object head; the dense head's boxes vote better.

    Raises:
        ValueError: an architecture of unknown layers or activations: text in it would be run; or one too large.
    """
    tasks = ultralytics_module("nn.tasks")
    wanted = known_architecture(architecture)
    if dense:
        wanted["end2end"] = False
    try:
        with torch.device("meta"):  # which takes no memory
            layers, _ = tasks.parse_model(copy.deepcopy(wanted), ch=3, verbose=False)
    except Exception as error:  # whatever Ultralytics raises for layers that do not fit
        raise ValueError(f"detector architecture: its layers must fit each other, got {error!r}.") from error
    check_weights(sum(parameter.numel() for parameter in layers.parameters()))
    model = tasks.DetectionModel(wanted, ch=3, verbose=False)
    _set_classes(model.model[-1], num_classes)
    return cast(nn.Module, model).eval()


def _set_classes(head: Any, num_classes: int) -> None:
    """Give the head another number of classes; the widths before its last layer, which depend on it, are kept."""
    if head.nc == num_classes:
        return
    head.nc, head.no = num_classes, num_classes + 4 * head.reg_max
    for branches in (getattr(head, "cv3", None), getattr(head, "one2one_cv3", None)):
        for branch in branches or ():
            last = branch[-1]
            branch[-1] = nn.Conv2d(last.in_channels, num_classes, 1)
            nn.init.constant_(branch[-1].bias, -4.0)


def detection_loss(model: nn.Module, epochs: int) -> Any:
    """Ultralytics' loss of `model`, a function of a batch of `img`, `batch_idx`, `cls` and `bboxes`."""
    arguments = copy.deepcopy(ultralytics_module("utils").DEFAULT_CFG)
    arguments.epochs = epochs
    model.args = arguments
    model.criterion = model.init_criterion()  # type: ignore[operator]

    def loss(batch: Mapping[str, Tensor]) -> Tensor:
        return model.loss(batch)[0].sum()  # type: ignore[operator]

    return loss


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], list[str], dict[str, Tensor]]:
    """Architecture, class names and weights of an Ultralytics `.pt`, read without running what a pickle could hide.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a detection checkpoint, one that holds more than network layers, weights that are NaN or
            infinite, or a file of the catalogue that is damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"detector weights must be a file, got {path}; get them by `amsam weights fetch yolo26n`."
        )
    check_catalogued(Path(path))
    layers = {ultralytics_module("nn.tasks").DetectionModel}
    for module in (*vars(ultralytics_module("nn.modules")).values(), *vars(nn.modules).values()):
        if isinstance(module, ModuleType):
            layers.update(
                kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, nn.Module)
            )
    stand_ins: list[Any] = [_stand_in(kind) for kind in sorted(layers, key=str)]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
        model = content.get("ema") or content["model"]
        names = [str(model.names[index]) for index in range(len(model.names))]
        architecture, state = dict(model.yaml), nn.Module.state_dict(nn.Module.float(model))
    except Exception as error:  # a class that is no network layer, no such key, no zip archive: all kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"detector weights must be an Ultralytics checkpoint, got {path} ({reason}).") from error
    if bad := not_finite(state):
        raise ValueError(f"{path}: {bad}. Get the file anew.")
    return architecture, names, state


class _Layer(nn.Module):
    """What stands for a layer of a checkpoint while it is read: it holds weights and other layers, and is never made.

    A pickle may call what it may name, and a layer that is called with text may run it.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ValueError(f"{type(self).__name__} must be kept as it was trained, and not made by the file")


def _stand_in(kind: type) -> type:
    return type(kind.__name__, (_Layer,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})


def ultralytics_module(name: str) -> Any:
    """A module below the ultralytics package, imported without side effects on this process.

    Its import writes a settings file, asks a name server whether it is online, and changes print options, warning
    filters, the environment, `torch.save` and `PIL.Image.open`. All of that is kept away or put back.

    Raises:
        ImportError: ultralytics is not installed.
    """
    try:
        with contextlib.nullcontext() if "ultralytics.nn.tasks" in sys.modules else _contained():
            importlib.import_module("ultralytics.nn.tasks")
            return importlib.import_module(f"ultralytics.{name}")
    except ImportError as error:
        raise ImportError(
            "a box detector needs ultralytics (AGPL-3.0), which is not installed; pip install ultralytics"
        ) from error


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    environment, numpy_print = dict(os.environ), np.get_printoptions()
    save, open_picture = torch.save, PIL.Image.open
    with tempfile.TemporaryDirectory(prefix="amsam-yolo-") as folder, warnings.catch_warnings():
        os.environ.update(YOLO_OFFLINE="true", YOLO_VERBOSE="false")
        os.environ.setdefault("YOLO_CONFIG_DIR", folder)
        try:
            yield
        finally:
            os.environ.update(environment)
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            torch.save, PIL.Image.open = save, open_picture
            np.set_printoptions(**numpy_print)
            torch.set_printoptions(profile="default")
