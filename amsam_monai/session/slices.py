"""An open image slice by slice: masks, what the network says of them, and the steps to undo."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amsam_monai.networks.systems.system import System
from amsam_monai.segment.embeddings_lru import EmbeddingLRU
from amsam_monai.session.edits import History, SessionPoint, SliceEdits, SliceState, Step, pack, unpack
from amsam_monai.session.image import SessionImage, Voxel
from amsam_monai.session.slice_answers import SliceAnswers
from amsam_monai.transforms.intensity import Intensity


@dataclass
class SliceResult:
    """What the network says of a slice.

    Args:
        slice: number of the slice, as the stored array counts.
        mask: class indices as the session's label map holds them, in the view's orientation.
        points: per class name, the points that were used.
        boxes: per class name, two corner voxels, or None.
        quality: per class name, predicted IoU in [0, 1]; empty where the system does not tell.
        presence: per class name, probability that the class is there; empty where the system does not tell.

    Shape: mask (H, W).
    """

    slice: int
    mask: np.ndarray
    points: dict[str, list[SessionPoint]] = field(default_factory=dict)
    boxes: dict[str, tuple[Voxel, Voxel] | None] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)
    presence: dict[str, float] = field(default_factory=dict)


class SessionSlices(ABC):
    """What an interactive session holds of the open image; see `InteractiveSession`, which alone is made."""

    def __init__(
        self,
        net: System,
        labels: Mapping[int, str] | None = None,
        *,
        intensity: Intensity | Mapping[str, Any] | None = None,
        slices: Mapping[str, Any] | None = None,
        largest_component: bool | Sequence[str] = False,
        cache: EmbeddingLRU | None = None,
        lock: threading.Lock | None = None,
    ) -> None:
        count = net.num_classes
        names = labels or {index: f"class {index}" for index in range(1, count + 1)}
        self.labels = {int(index): str(name) for index, name in sorted(names.items()) if int(index) > 0}
        if list(self.labels) != list(range(1, count + 1)):
            raise ValueError(f"labels must name the classes 1 to {count}, got {self.labels}.")
        self.net = net.eval()
        self.intensity = intensity if isinstance(intensity, Intensity) else Intensity(**(intensity or {}))
        self.slices = dict(slices or {})
        wanted = list(self.labels.values()) if largest_component is True else list(largest_component or ())
        self.largest = [index for index, name in self.labels.items() if name in wanted]
        self.cache = EmbeddingLRU() if cache is None else cache  # an empty cache is false
        self.lock = lock or threading.Lock()
        self._image: SessionImage | None = None

    def _begin(self, image: SessionImage) -> None:
        """Hold another image; what was held is dropped."""
        self._image = image
        self.label = np.zeros(image.source.spatial_shape, dtype=np.uint8)
        self.edits: dict[int, SliceEdits] = {}
        self.results: dict[int, SliceResult] = {}
        self.answers = SliceAnswers(self.net, image, self.cache, self.lock)
        self._fresh: set[int] = set()
        self.history = History()

    @property
    def is_open(self) -> bool:
        """Whether an image is open."""
        return self._image is not None

    @property
    def image(self) -> SessionImage:
        """The open image."""
        if self._image is None:
            raise ValueError("no image is open; call open(path) first.")
        return self._image

    @property
    def slice_axis(self) -> int:
        """The stored axis that slices follow."""
        return self.image.axis

    @property
    def depth(self) -> int:
        """Number of slices."""
        return self.image.depth

    def label_index(self, label: str | int) -> int:
        """Class index of a name, or the index itself.

        Raises:
            ValueError: the network has no such class.
        """
        for index, name in self.labels.items():
            if label == name or (isinstance(label, int) and label == index):
                return index
        folded = {name.casefold(): index for index, name in self.labels.items()}
        if isinstance(label, str) and label.casefold() in folded:
            return folded[label.casefold()]
        raise ValueError(f"label must be one of {', '.join(self.labels.values())}, got {label!r}.")

    @abstractmethod
    def points(self, label: str | int, slice: int | None = None) -> list[SessionPoint]:
        """Points of a class, those that the network chose included."""

    @abstractmethod
    def box(self, label: str | int, slice: int) -> tuple[Voxel, Voxel] | None:
        """Two corner voxels of a class's box in a slice."""

    def undo(self) -> list[int]:
        """Take the last step back; the slices that changed, none where there is no step."""
        return self._swap(self.history.done, self.history.undone)

    def redo(self) -> list[int]:
        """Take the last undone step again; the slices that changed."""
        return self._swap(self.history.undone, self.history.done)

    def _segment_slice(self, number: int) -> SliceResult:
        if number in self._fresh:
            return self.results[number]
        answer = self.answers.answer(number, self.edits.get(number, {}))
        mask = answer.logits[0].max(0).indices.to(torch.uint8).cpu().numpy()
        plane = self.image.plane(self.label, number)
        if self.history.done and number not in self.history.done[-1] and plane.any():
            self.history.widen(self._capture([number]))
        plane[...] = mask
        result = SliceResult(
            number,
            plane,
            {name: self.points(index, number) for index, name in self.labels.items()},
            {name: self.box(index, number) for index, name in self.labels.items()},
            self._by_name(answer.quality),
            self._by_name(answer.presence),
        )
        self.results[number] = result
        self._fresh.add(number)
        return result

    def _store(self, slice: int, edits: SliceEdits) -> None:
        self.edits.pop(slice, None)
        if edits:
            self.edits[slice] = edits
        self._fresh.discard(slice)

    def _capture(self, numbers: Iterable[int]) -> Step:
        return {
            number: SliceState(
                self.edits.get(number, {}), pack(self.image.plane(self.label, number)), number in self._fresh
            )
            for number in numbers
        }

    def _record(self, numbers: Iterable[int]) -> None:
        self.history.record(self._capture(numbers))

    def _swap(self, source: list[Step], target: list[Step]) -> list[int]:
        if not source:
            return []
        step = source.pop()
        target.append(self._capture(step))
        for number, state in step.items():
            self._store(number, state.edits)
            self.image.plane(self.label, number)[...] = unpack(state.mask, self.image.slice_hw)
            self.results.pop(number, None)
        return sorted(step)

    def _by_name(self, values: Tensor | None) -> dict[str, float]:
        if values is None:
            return {}
        return {name: round(float(values[0, index - 1]), 4) for index, name in self.labels.items()}
