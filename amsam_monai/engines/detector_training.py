"""Fits the box detector on the boxes of a few training masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from amsam_monai.engines.detector_fit import check_objects, fitted, names_of
from amsam_monai.networks.detector.detector import BoxDetector
from amsam_monai.networks.detector.files import load_detector
from amsam_monai.networks.detector.scenes import ViewBatches, scene_of
from amsam_monai.networks.detector.views import Augmentation
from amsam_monai.networks.detector.yolo import build_model, detection_loss, read_checkpoint


@dataclass(frozen=True)
class DetectorSettings:
    """How a detector is fitted.

    Args:
        steps: optimiser steps; a step is a batch of random views.
        batch_size: views per step.
        extra_share: share of a batch that is drawn from the extra images, where there are some.
        image_size: side of the square that the detector sees, a multiple of 32.
        more_sizes: further sides at which the finished detector looks, see `BoxDetector`.
        learning_rate: of AdamW, falling along a cosine.
        weight_decay: of AdamW.
        frozen_layers: leading layers that do not train; 11 is the backbone of YOLO26 and 10 that of YOLOv8.
        fit_statistics: let batch statistics follow the images; for hundreds of images, not for a handful.
        average: decay of the weights' running mean, which is what the finished detector gets.
        per: one box per "class", or one per connected "component"; or a word for each class.
        confidence: floor of the finished detector.
        snap_to_dark_object: the finished detector looks for the edges of dark objects, see `BoxDetector`.
        augmentation: how far the random views go.
        seed: of views and order.
    """

    steps: int = 100
    batch_size: int = 8
    extra_share: float = 0.5
    image_size: int = 224
    more_sizes: Sequence[int] = ()
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    frozen_layers: int = 5
    fit_statistics: bool = False
    average: float = 0.97
    per: str | Sequence[str] = "class"
    confidence: float = 0.05
    snap_to_dark_object: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0


def train_detector(
    images: Iterable[Tensor],
    labels: Iterable[Tensor],
    num_classes: int,
    *,
    start: str | Path,
    extra: Iterable[tuple[Tensor, Tensor]] = (),
    settings: DetectorSettings | None = None,
    class_names: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int, float], None] | None = None,
) -> BoxDetector:
    """A detector fitted on the boxes of training masks.

    Args:
        images: in [0, 1]; sizes may differ.
        labels: class indices of each image, 0 background, IGNORE_INDEX nothing.
        num_classes: K, foreground classes.
        start: what training starts from: an Ultralytics checkpoint, such as the catalogue's `yolo26n`, or a
            detector's file, for instance of one fitted on phantoms.
        extra: further images with labels that keep a few real ones from being learned by heart, such as phantoms.
        settings: how to fit; the defaults suit a handful of images.
        class_names: K names; kept in the detector's file.
        device: where to train.
        progress: called after each step with (step, steps, loss).

    Shape: images (3, H, W) each, labels (H, W) or (1, H, W) each.

    Raises:
        ValueError: no images, no object in any label, or names that do not fit.
        ImportError: ultralytics is not installed.
    """
    settings = settings or DetectorSettings()
    names = names_of(num_classes, class_names)
    how: Any = {"size": settings.image_size, "per": settings.per}
    scenes = [scene_of(image, label, num_classes, **how) for image, label in zip(images, labels, strict=True)]
    check_objects(scenes, num_classes)
    others = [scene_of(image, label, num_classes, **how) for image, label in extra]
    batches = ViewBatches(
        scenes,
        others,
        steps=settings.steps,
        batch_size=settings.batch_size,
        extra_share=settings.extra_share,
        size=settings.image_size,
        augmentation=settings.augmentation,
        seed=settings.seed,
    )
    model = starting_model(start, num_classes).to(device)
    loss, buffers = _LossOfBatch(model, settings), settings.fit_statistics
    return BoxDetector(
        fitted(model, loss, batches, settings, use_buffers=buffers, device=device, progress=progress),
        class_names=names,
        image_size=settings.image_size,
        more_sizes=settings.more_sizes,
        confidence=settings.confidence,
        snap_to_dark_object=settings.snap_to_dark_object,
    )


class _LossOfBatch(nn.Module):
    """The detector with Ultralytics' loss behind it: what a trainer trains.

    Args:
        model: of Ultralytics.
        settings: how it is fitted.

    Shape: a batch of `ViewBatches` -> ().
    """

    def __init__(self, model: nn.Module, settings: DetectorSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        for index, layer in enumerate(cast(nn.Sequential, model.model)):
            layer.requires_grad_(index >= settings.frozen_layers)
        self.loss = detection_loss(model, settings.steps)

    def train(self, mode: bool = True) -> _LossOfBatch:
        """Batch statistics stay as they are unless they are to be fitted."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(mode and self.settings.fit_statistics)
        return self

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return cast(Tensor, self.loss(batch)) / self.settings.batch_size


def starting_model(start: str | Path, num_classes: int) -> nn.Module:
    """A model for `num_classes` with all the weights of `start`; each new class begins as the mean of the old ones.

    Args:
        start: an Ultralytics checkpoint (.pt), or a detector's file (.pth).
        num_classes: K.
    """
    if Path(start).suffix == ".pt":
        architecture, names, state = read_checkpoint(start)
    else:
        detector = load_detector(start)
        architecture = cast("dict[str, Any]", detector.model.yaml)
        names, state = detector.class_names, detector.model.state_dict()
    model = build_model(architecture, num_classes)
    own = model.state_dict()
    for name, value in state.items():
        if name in own and value.shape == own[name].shape:
            own[name] = value
        elif name in own and value.shape[0] == len(names):
            own[name] = value.mean(dim=0, keepdim=True).expand_as(own[name])
    model.load_state_dict(own)
    return model


def cross_fitted_boxes(
    images: Sequence[Tensor], labels: Sequence[Tensor], num_classes: int, *, folds: int = 2, **options: Any
) -> Tensor:
    """Boxes of training images from detectors that did not see them: as imperfect as those of new images.

    Args:
        images: see `train_detector`.
        labels: see `train_detector`.
        num_classes: K.
        folds: parts; each is boxed by a detector trained on the others.
        options: of `train_detector`.

    Shape: -> (N, K, 4) in pixels of each image; NaN = none.

    Raises:
        ValueError: folds outside 2..N.
    """
    if not 2 <= folds <= len(images):
        raise ValueError(f"folds must lie in 2..{len(images)}, the number of images, got {folds}.")
    boxes: list[Tensor] = [torch.empty(0)] * len(images)
    for fold in range(folds):
        rest = [index for index in range(len(images)) if index % folds != fold]
        detector = train_detector([images[i] for i in rest], [labels[i] for i in rest], num_classes, **options)
        for index in range(fold, len(images), folds):
            boxes[index] = detector(torch.as_tensor(images[index])[None].float())[0][0]
    return torch.stack(boxes)
