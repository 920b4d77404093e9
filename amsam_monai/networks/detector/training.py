"""Fits the box detector on the boxes of a few training masks, and measures it on others."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.detector import GREY, BoxDetector, load_detector
from amsam_monai.networks.detector.views import Augmentation, Scene, random_view
from amsam_monai.networks.detector.yolo import build_model, detection_loss, read_checkpoint
from amsam_monai.networks.prompts.boxes import box_iou, class_boxes, instances_of

logger = logging.getLogger(__name__)


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
        per: one box per "class", or one per connected "component".
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
    per: str = "class"
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
    names = list(class_names or [f"class {k}" for k in range(1, num_classes + 1)])
    if len(names) != num_classes:
        raise ValueError(f"class_names must be {num_classes} names, got {len(names)}.")
    scenes = [_scene(image, label, num_classes, settings) for image, label in zip(images, labels, strict=True)]
    if not any(len(scene.classes) for scene in scenes):
        raise ValueError(f"labels must hold an object of classes 1..{num_classes}, got none in {len(scenes)}.")
    others = [_scene(image, label, num_classes, settings) for image, label in extra]
    model = starting_model(start, num_classes).to(device)
    model = _fit(model, scenes, others, settings, device, progress)
    return BoxDetector(
        model,
        class_names=names,
        image_size=settings.image_size,
        more_sizes=settings.more_sizes,
        confidence=settings.confidence,
        snap_to_dark_object=settings.snap_to_dark_object,
    )


def _fit(
    model: nn.Module,
    scenes: Sequence[Scene],
    others: Sequence[Scene],
    settings: DetectorSettings,
    device: str | torch.device,
    progress: Callable[[int, int, float], None] | None,
) -> nn.Module:
    """Train `model` in place; returns the running mean of its weights."""
    averaged = AveragedModel(model, avg_fn=_running_mean(settings.average), use_buffers=settings.fit_statistics)
    trained = _prepare(model, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    loss_of = detection_loss(model, settings.steps)
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings.steps)
        batch = _draw_batch(scenes, others, settings, generator)
        loss = loss_of({name: value.to(device) for name, value in batch.items()}) / settings.batch_size
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        averaged.update_parameters(model)
        if progress is not None:
            progress(step + 1, settings.steps, float(loss.detach()))
    return averaged.module.eval()


def _prepare(model: nn.Module, settings: DetectorSettings) -> list[nn.Parameter]:
    """Put `model` in training mode and give what trains."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(settings.fit_statistics)
    for index, layer in enumerate(cast(nn.Sequential, model.model)):
        layer.requires_grad_(index >= settings.frozen_layers)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _running_mean(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential mean that follows closely at first, so that a short training counts."""

    def mean(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        if not old.is_floating_point():  # a counter among the buffers
            return new
        return old.lerp(new, 1 - min(decay, (1 + int(count)) / (10 + int(count))))

    return mean


def _schedule(step: int, steps: int) -> float:
    """A short linear warm-up, then a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / max(1.0, 0.1 * steps))
    return warm * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))


def _draw_batch(
    scenes: Sequence[Scene], others: Sequence[Scene], settings: DetectorSettings, generator: torch.Generator
) -> dict[str, Tensor]:
    """Random views in the form of Ultralytics' losses."""
    size = settings.image_size
    share = round(settings.batch_size * settings.extra_share) if others else 0
    chosen = _pick(scenes, settings.batch_size - share, generator) + _pick(others, share, generator)
    drawn = [random_view(scene, size, settings.augmentation, generator, GREY[0]) for scene in chosen]
    boxes = torch.from_numpy(np.concatenate([boxes for _, boxes, _ in drawn])) / size
    classes = torch.from_numpy(np.concatenate([classes for _, _, classes in drawn]))
    counts = torch.tensor([len(classes) for _, _, classes in drawn])
    return {
        "img": torch.stack([view for view, _, _ in drawn]),
        "batch_idx": torch.arange(len(drawn)).repeat_interleave(counts).float(),
        "cls": classes.float()[:, None] - 1,
        "bboxes": torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1),  # centre, size
    }


def _pick(scenes: Sequence[Scene], count: int, generator: torch.Generator) -> list[Scene]:
    """`count` random scenes, each once before any comes twice."""
    rounds = -(-count // max(1, len(scenes)))
    order = [torch.randperm(len(scenes), generator=generator) for _ in range(rounds)]
    return [scenes[index] for index in torch.cat(order)[:count].tolist()] if order else []


def _scene(image: Tensor, label: Tensor, num_classes: int, settings: DetectorSettings) -> Scene:
    if image.ndim != 3 or image.shape[0] != 3 or tuple(image.shape[1:]) != tuple(label.shape[-2:]):
        raise ValueError(
            f"image must have shape (3, H, W) and its label (H, W), got {tuple(image.shape)} and {tuple(label.shape)}."
        )
    numbered, classes = instances_of(np.asarray(label).reshape(label.shape[-2:]), num_classes, per=settings.per)
    frame = SquareFrame(numbered.shape[0], numbered.shape[1], settings.image_size)
    rows, columns = frame.scaled_hw
    pixels = frame.image(torch.as_tensor(image)[None].float())[0, :, :rows, :columns]
    objects = frame.label(torch.from_numpy(numbered)[None, None].int(), 0)[0, 0, :rows, :columns]
    return Scene((pixels * 255).round().clamp(0, 255).to(torch.uint8), objects.to(torch.int16), classes)


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


@dataclass(frozen=True)
class DetectorScore:
    """How well a detector finds the boxes of held-out masks; one entry per image and class that is present.

    Args:
        iou: overlap of the top box with the true one, 0 where there was none.
        false_boxes: boxes given for classes that are absent.
        absent: class-image pairs where the class is absent.
    """

    iou: np.ndarray
    false_boxes: int
    absent: int

    @property
    def mean_iou(self) -> float:
        """Mean overlap."""
        return float(self.iou.mean()) if len(self.iou) else math.nan

    def recall(self, at: float = 0.5) -> float:
        """Share of objects whose box overlaps by at least `at`."""
        return float((self.iou >= at).mean()) if len(self.iou) else math.nan


def score_detector(detector: BoxDetector, images: Iterable[Tensor], labels: Iterable[Tensor]) -> DetectorScore:
    """Compare the detector's boxes with those of masks; see `train_detector` for the shapes."""
    overlaps, false_boxes, absent = [], 0, 0
    for image, label in zip(images, labels, strict=True):
        boxes = detector(torch.as_tensor(image)[None].float())[0]
        true = class_boxes(torch.as_tensor(label).reshape(1, 1, *label.shape[-2:]), detector.num_classes)
        present = ~true.isnan().any(dim=-1)
        overlaps.append(box_iou(boxes, true)[present])
        false_boxes += int((~boxes.isnan().any(dim=-1) & ~present).sum())
        absent += int((~present).sum())
    return DetectorScore(torch.cat(overlaps).numpy() if overlaps else np.zeros(0), false_boxes, absent)


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
