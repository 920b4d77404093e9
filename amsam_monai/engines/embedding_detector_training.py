"""Fits the detector that reads SAM's embedding, on cached embeddings of random views of a few labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from amsam_monai.data.embeddings.cache import EmbeddingCache
from amsam_monai.engines.detector_fit import check_objects, fitted, names_of
from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.box_head import BoxHead, answering_cells, head_loss
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.networks.detector.scenes import pick, scene_of
from amsam_monai.networks.detector.views import Augmentation, Scene, random_view
from amsam_monai.networks.prompts.boxes import instance_boxes
from amsam_monai.networks.sam import SAM

LOOKS = 64  # views of all images together, where that is at least one of each
ROOM = 2**30  # bytes of embeddings that stay in memory
SYMMETRIES = 8  # of the square, under which SAM's embedding moves along, nearly


@dataclass(frozen=True)
class EmbeddingDetectorSettings:
    """How a detector is fitted on SAM's embeddings.

    Args:
        steps: optimiser steps; a step is a batch of views.
        views: of each image, whose embeddings are kept; None takes about 64 of all images together.
        batch_size: views per step.
        extra_share: share of a batch that is drawn from the extra images, where there are some.
        learning_rate: of AdamW, falling along a cosine.
        weight_decay: of AdamW.
        average: decay of the weights' running mean, which is what the finished detector gets.
        per: one box per "class", or one per connected "component"; or a word for each class.
        confidence: floor of the finished detector.
        snap_to_dark_object: the finished detector looks for the edges of dark objects, see `EmbeddingDetector`.
        width: channels of the head.
        dilations: of its blocks, see `BoxHead`.
        augmentation: how far the random views go.
        seed: of weights, views and order.
    """

    steps: int = 150
    views: int | None = None
    batch_size: int = 8
    extra_share: float = 0.5
    learning_rate: float = 5e-3
    weight_decay: float = 0.05
    average: float = 0.97
    per: str | Sequence[str] = "class"
    confidence: float = 0.05
    snap_to_dark_object: bool = False
    width: int = 64
    dilations: Sequence[int] = (1, 2, 4, 8)
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0


def train_embedding_detector(
    images: Iterable[Tensor],
    labels: Iterable[Tensor],
    num_classes: int,
    *,
    sam: SAM,
    resize: str = "pad",
    cache: EmbeddingCache | None = None,
    extra: Iterable[tuple[Tensor, Tensor]] = (),
    settings: EmbeddingDetectorSettings | None = None,
    class_names: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int, float], None] | None = None,
) -> EmbeddingDetector:
    """A detector fitted on the boxes of training masks, seen through SAM's frozen image encoder.

    Args:
        images: in [0, 1]; sizes may differ.
        labels: class indices of each image, 0 background, IGNORE_INDEX nothing.
        num_classes: K, foreground classes.
        sam: whose embeddings are read, on `device`; it stays as it is.
        resize: how images lie in its square, see `SquareFrame`.
        cache: of this encoder's embeddings; None keeps them in memory alone.
        extra: further images with labels, such as phantoms.
        settings: how to fit; the defaults suit a handful of images.
        class_names: K names; kept in the detector's file.
        device: where to train.
        progress: called after each step with (step, steps, loss).

    Shape: images (3, H, W) each, labels (H, W) or (1, H, W) each.

    Raises:
        ValueError: no images, no object in any label, or names that do not fit.
    """
    settings = settings or EmbeddingDetectorSettings()
    names = names_of(num_classes, class_names)

    def scenes_of(pairs: Iterable[tuple[Tensor, Tensor]]) -> list[Scene]:
        how = {"size": sam.image_size, "per": settings.per, "resize": resize}
        return [scene_of(image, label, num_classes, **how) for image, label in pairs]  # type: ignore[arg-type]

    scenes = scenes_of(zip(images, labels, strict=True))
    check_objects(scenes, num_classes)
    batches = EmbeddedViews(
        scenes, scenes_of(extra), sam=sam, cache=cache, settings=settings, num_classes=num_classes, device=device
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        head = BoxHead(num_classes, width=settings.width, dilations=settings.dilations)
    boxes, classes = batches.whole()
    head.expect_sides(boxes, classes)
    head = head.to(device)
    return EmbeddingDetector(
        cast(BoxHead, fitted(head, _LossOfCells(head), batches, settings, device=device, progress=progress)),
        class_names=names,
        image_size=sam.image_size,
        resize=resize,
        encoder=None if sam.origin is None else sam.origin.sha256,
        confidence=settings.confidence,
        snap_to_dark_object=settings.snap_to_dark_object,
    )


class EmbeddedViews:
    """A fixed number of batches of views through SAM's image encoder, the same for the same seed.

    The first view of an image is the image as the network sees it. Each view is embedded once, when it is first drawn,
    and drawn under one of the square's eight symmetries.

    Args:
        scenes: labelled images that fit the square.
        others: further ones, such as phantoms, which have one view each.
        sam: embeds them.
        cache: keeps what memory does not hold; None has all in memory.
        settings: of the fit.
        num_classes: K.
        device: where SAM is.

    Shape: "embedding" (B, 256, g, g); "claimed" and "wanted" of `answering_cells`, (B, K, g, g) and (B, K, g, g, 4).
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        others: Sequence[Scene] = (),
        *,
        sam: SAM,
        cache: EmbeddingCache | None,
        settings: EmbeddingDetectorSettings,
        num_classes: int,
        device: str | torch.device = "cpu",
    ) -> None:
        self.sam, self.cache, self.settings, self.device = sam, cache, settings, torch.device(device)
        self.num_classes = num_classes
        views = settings.views or max(1, LOOKS // max(1, len(scenes)))
        self.scenes = [(scene, view) for scene in scenes for view in range(views)]
        self.own = list(range(len(self.scenes)))
        self.scenes += [(scene, 0) for scene in others]
        self.others = list(range(len(self.own), len(self.scenes)))
        self._embedded: dict[int, tuple[Tensor | None, Tensor, Tensor]] = {}
        self._room = ROOM

    def __len__(self) -> int:
        return self.settings.steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.settings.seed)
        share = round(self.settings.batch_size * self.settings.extra_share) if self.others else 0
        for _ in range(len(self)):
            chosen = pick(self.own, self.settings.batch_size - share, generator) + pick(self.others, share, generator)
            moves = torch.randint(SYMMETRIES, (len(chosen),), generator=generator).tolist()
            yield self._batch([turned(*self.view(n), move) for n, move in zip(chosen, moves, strict=True)])

    def whole(self) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4) in cells and classes (N,) of the objects of all images as they are."""
        chosen = [scene for scene, view in self.scenes if view == 0 and len(scene.classes)]
        boxes = [torch.from_numpy(instance_boxes(scene.objects.numpy(), len(scene.classes))) for scene in chosen]
        classes = [torch.from_numpy(scene.classes) for scene in chosen]
        return torch.cat(boxes) * (self.sam.grid / self.sam.image_size), torch.cat(classes)

    def view(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding (256, g, g) of the n-th view, boxes (N, 4) of its objects in cells, and their classes (N,)."""
        if n in self._embedded and (embedding := self._embedded[n][0]) is not None:
            return embedding, *self._embedded[n][1:]
        pixels, boxes, classes = self._seen(n)
        if self.cache is not None:
            embedding = self.cache.get_or_compute(pixels, self._encode, device=self.device)
        else:
            embedding = self._encode(pixels[None].to(self.device))[0].half().cpu()
        size = embedding.numel() * embedding.element_size()
        found = torch.from_numpy(boxes) * (self.sam.grid / self.sam.image_size), torch.from_numpy(classes)
        if size <= self._room or self.cache is None:
            self._embedded[n] = (embedding, *found)
            self._room -= size
        return embedding, *found

    def _seen(self, n: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Pixels (3, S, S), boxes in these and classes of the n-th view."""
        scene, view = self.scenes[n]
        fill, size = self.sam.fill.cpu()[0], self.sam.image_size
        if view:
            generator = torch.Generator().manual_seed(1_000_003 * self.settings.seed + n)
            return random_view(scene, size, self.settings.augmentation, generator, fill)
        frame = SquareFrame(scene.image.shape[-2], scene.image.shape[-1], size)
        pixels = frame.image(scene.image[None].float() / 255, fill)[0]
        return pixels, instance_boxes(scene.objects.numpy(), len(scene.classes)), scene.classes

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        return self.sam.encode(pixels)

    def _batch(self, views: Sequence[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
        grid = self.sam.grid
        cells = [answering_cells(boxes, classes, self.num_classes, grid) for _, boxes, classes in views]
        return {
            "embedding": torch.stack([embedding.float() for embedding, _, _ in views]),
            "claimed": torch.stack([claimed for claimed, _ in cells]),
            "wanted": torch.stack([wanted for _, wanted in cells]),
        }


class _LossOfCells(nn.Module):
    """The head with its loss behind it: what a trainer trains.

    Shape: a batch of `EmbeddedViews` -> ().
    """

    def __init__(self, head: BoxHead) -> None:
        super().__init__()
        self.head = head.requires_grad_(True)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return head_loss(self.head(batch["embedding"]), batch["claimed"], batch["wanted"])


def turned(embedding: Tensor, boxes: Tensor, classes: Tensor, move: int) -> tuple[Tensor, Tensor, Tensor]:
    """An embedding (256, g, g) and boxes (N, 4) in its cells under symmetry 0 (none) to 7 of the square."""
    grid = embedding.shape[-1]
    x1, y1, x2, y2 = boxes.unbind(-1)
    if move & 1:
        embedding, (x1, y1, x2, y2) = embedding.transpose(-1, -2), (y1, x1, y2, x2)
    if move & 2:
        embedding, (x1, x2) = embedding.flip(-1), (grid - x2, grid - x1)
    if move & 4:
        embedding, (y1, y2) = embedding.flip(-2), (grid - y2, grid - y1)
    return embedding, torch.stack([x1, y1, x2, y2], dim=-1), classes
