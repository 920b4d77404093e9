"""The interactive session: a person's clicks, boxes and corrections on an image or volume, with any system."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from amsam_monai.data.files import LoadedImage
from amsam_monai.inferers.components import keep_largest_components
from amsam_monai.inferers.embeddings_lru import EmbeddingLRU
from amsam_monai.inferers.propagation import overlap, prompts_of_mask
from amsam_monai.inferers.session_edits import (
    ClassEdits,
    History,
    SessionPoint,
    SliceEdits,
    SliceState,
    Step,
    box_corners,
    changed,
    pack,
    unpack,
    without,
)
from amsam_monai.inferers.session_files import restore_session, save_session
from amsam_monai.inferers.session_image import SessionImage, Voxel, load_source
from amsam_monai.inferers.slice_answers import SliceAnswers, points_in
from amsam_monai.networks.system import System
from amsam_monai.transforms.intensity import Intensity

if TYPE_CHECKING:
    from amsam_monai.inferers.bundle import LoadedBundle


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


class InteractiveSession:
    """Segment an image or volume with a person in the loop.

    Coordinates at the door are voxels (i, j, k) of the stored image as it is loaded, whatever its orientation; of a
    picture (column, row). A slice's number is the voxel index along the axis that slices follow (`slice_axis`).
    Edits wait until `segment` is called; `undo` and `redo` bring edits and masks back together.

    Args:
        net: a system; it is put into evaluation mode.
        labels: name of every class index above 0; "class 1", ... by default.
        intensity: `Intensity`, or its arguments.
        slices: arguments of `SliceInferer`: axis, orientation, neighbours.
        largest_component: keep the largest component of these classes (True: all) where `segment("all")` found
            them and nobody has edited them.
        cache: embeddings, shared between sessions; 512 MiB of its own by default.
        lock: taken while the network runs, where sessions in several threads share it.

    Raises:
        ValueError: labels that are not the network's classes.
    """

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

    @classmethod
    def of_bundle(cls, bundle: LoadedBundle, **options: Any) -> InteractiveSession:
        """A session with a bundle's network and settings; `options` as of the class."""
        settings = {
            "intensity": bundle.intensity,
            "slices": bundle.slices,
            "largest_component": bundle.largest_component,
        }
        return cls(bundle.network, bundle.labels, **{**settings, **options})  # type: ignore[arg-type]

    # -- the image ---------------------------------------------------------------------------------------------

    def open(
        self,
        source: str | Path | np.ndarray | LoadedImage,
        *,
        affine: np.ndarray | None = None,
        state: str | Path | None = None,
    ) -> SessionImage:
        """Open an image, volume or array; what was open is dropped.

        Args:
            source: a path, a loaded image, or an array in memory.
            affine: voxel index to RAS millimetres, for arrays.
            state: a saved session (.session.json) of this image to go on with.

        Raises:
            FileNotFoundError, ImageFileError: as `read_image`.
            ValueError: the intensity refuses the values, or the saved session is of another image.
        """
        image = SessionImage(load_source(source, affine), self.intensity, self.slices)
        self._image = image
        self.label = np.zeros(image.source.spatial_shape, dtype=np.uint8)
        self.edits: dict[int, SliceEdits] = {}
        self.results: dict[int, SliceResult] = {}
        self.answers = SliceAnswers(self.net, image, self.cache, self.lock)
        self._fresh: set[int] = set()
        self.history = History()
        if state is not None:
            restore_session(self, state)
        return image

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

    # -- prompts -----------------------------------------------------------------------------------------------

    def points(self, label: str | int, slice: int | None = None) -> list[SessionPoint]:
        """Points of a class, those that the network chose included, in the order that `index` counts.

        Args:
            label: name or index of the class.
            slice: the slice; None gives those of all slices that were segmented or edited.
        """
        index = self.label_index(label)
        if slice is None:
            return [point for at in sorted({*self.edits, *self.results}) for point in self.points(label, at)]
        slice = self.image.check_slice(slice)
        edit = self.edits.get(slice, {}).get(index)
        if edit is not None and edit.points is not None:
            return list(edit.points)
        known = self.answers.known(slice, self.edits.get(slice, {}))
        return points_in(self.image, known, slice, index) if known else []

    def box(self, label: str | int, slice: int) -> tuple[Voxel, Voxel] | None:
        """Two corner voxels of a class's box in a slice, a person's or the network's, or None."""
        index, slice = self.label_index(label), self.image.check_slice(slice)
        edit = self.edits.get(slice, {}).get(index)
        if edit is not None and edit.box_given:
            return edit.box
        known = self.answers.known(slice, self.edits.get(slice, {}))
        if known is None or known.box_xyxy is None:
            return None
        edges = known.box_xyxy[0, index - 1]
        return None if edges.isnan().any() else box_corners(self.image, slice, tuple(edges.tolist()))

    def add_point(self, label: str | int, voxel: Sequence[float], positive: bool = True) -> SessionPoint:
        """Add a point of a class, positive inside it or negative outside.

        Raises:
            ValueError: unknown label, or a voxel outside the image.
        """
        index, place = self.label_index(label), self.image.check_voxel(voxel)
        point, slice = SessionPoint(place, bool(positive)), self.image.slice_of(place)
        self._set_points(slice, index, [*self._editable_points(index, slice), point])
        return point

    def move_point(self, label: str | int, slice: int, index: int, voxel: Sequence[float]) -> SessionPoint:
        """Move point `index` of a class (also one of the network's) within its slice; it is then the person's."""
        wanted, place = self.label_index(label), self.image.check_voxel(voxel)
        if self.image.slice_of(place) != self.image.check_slice(slice):
            raise ValueError(f"a point must stay in its slice {slice}, got voxel {place}; remove it and add another.")
        points = self._editable_points(wanted, slice)
        moved = SessionPoint(place, self._pick(points, index).positive)
        self._set_points(slice, wanted, [*points[:index], moved, *points[index + 1 :]])
        return moved

    def remove_point(self, label: str | int, slice: int, index: int) -> None:
        """Remove point `index` of a class, also one of the network's."""
        wanted = self.label_index(label)
        points = self._editable_points(wanted, self.image.check_slice(slice))
        self._pick(points, index)
        self._set_points(slice, wanted, [*points[:index], *points[index + 1 :]])

    def set_points(
        self, label: str | int, points: Iterable[SessionPoint], slice: int | None = None, *, keep_automatic: bool = True
    ) -> list[int]:
        """Replace a person's points of a class in every slice (or in one) by these, as one step.

        Args:
            label: name or index of the class.
            points: any number, in any slices.
            slice: leave other slices as they are, and points in them out.
            keep_automatic: add them to the network's own points; otherwise they are all there are.

        Returns:
            The slices whose points changed.
        """
        index = self.label_index(label)
        new: dict[int, list[SessionPoint]] = {}
        for point in points:
            place = self.image.check_voxel(point.voxel)
            new.setdefault(self.image.slice_of(place), []).append(replace(point, voxel=place))
        old = {at for at, edits in self.edits.items() if index in edits and edits[index].points is not None}
        wanted: dict[int, tuple[SessionPoint, ...] | None] = {}
        for at in sorted(old | set(new)):
            if slice is not None and at != slice:
                continue
            own = self._network_points(index, at) if keep_automatic and at in new else []
            listed = (*own, *new[at]) if at in new else None
            edit = self.edits.get(at, {}).get(index, ClassEdits())
            if listed != edit.points:
                wanted[at] = listed
        if wanted:
            self._record(wanted)
        for at, listed in wanted.items():
            self._store(at, changed(self.edits.get(at, {}), index, points=listed))
        return list(wanted)

    def set_box(self, label: str | int, corner: Sequence[float], opposite: Sequence[float]) -> list[int]:
        """Give a class a box by two opposite corner voxels, in any order, both inside it.

        Corners in different slices give the box to each slice between. Gives the slices that had another box.
        """
        index = self.label_index(label)
        one, other = self.image.check_voxel(corner), self.image.check_voxel(opposite)
        first, last = sorted((self.image.slice_of(one), self.image.slice_of(other)))
        corners = {at: (self._in_slice(one, at), self._in_slice(other, at)) for at in range(first, last + 1)}
        edits = {at: changed(self.edits.get(at, {}), index, box=box, box_given=True) for at, box in corners.items()}
        touched = [at for at in edits if edits[at] != self.edits.get(at, {})]
        if touched:
            self._record(touched)
        for at in touched:
            self._store(at, edits[at])
        return touched

    def drop_boxes(self, label: str | int) -> list[int]:
        """Forget a person's boxes of a class in all slices, as one step; gives the slices."""
        index = self.label_index(label)
        touched = [at for at in sorted(self.edits) if index in self.edits[at] and self.edits[at][index].box_given]
        if touched:
            self._record(touched)
        for at in touched:
            self._store(at, changed(self.edits[at], index, box=None, box_given=False))
        return touched

    def remove_box(self, label: str | int, slice: int) -> None:
        """Take a class's box away, also the network's own."""
        index, slice = self.label_index(label), self.image.check_slice(slice)
        self._record([slice])
        self._store(slice, changed(self.edits.get(slice, {}), index, box=None, box_given=True))

    def clear(self, label: str | int | None = None, slice: int | None = None) -> list[int]:
        """Drop a person's prompts (and the masks they led to) of a class, or all; in a slice, or all. As one step."""
        index = None if label is None else self.label_index(label)
        wanted = [at for at in sorted(self.edits) if slice is None or at == self.image.check_slice(slice)]
        touched = [at for at in wanted if index is None or index in self.edits[at]]
        if touched:
            self._record(touched)
        for at in touched:
            plane = self.image.plane(self.label, at)
            gone = self.edits[at] if index is None else {index}
            plane[np.isin(plane, list(gone))] = 0
            self._store(at, {} if index is None else without(self.edits[at], index))
        return touched

    # -- masks -------------------------------------------------------------------------------------------------

    def segment(
        self, slice: int | str | Iterable[int] = "all", *, progress: Callable[[int, int], None] | None = None
    ) -> SliceResult | list[SliceResult]:
        """Segment a slice, several, or "all", with the prompts there are; masks go into `label`.

        Args:
            slice: a slice's number gives its result; several numbers or "all" give a list.
            progress: called with the number of slices done and of all.
        """
        if isinstance(slice, int):
            return self._segment_slice(self.image.check_slice(slice))
        if isinstance(slice, str) and slice != "all":
            raise ValueError(f"slice must be a number, several, or 'all', got {slice!r}.")
        numbers = range(self.depth) if isinstance(slice, str) else [self.image.check_slice(at) for at in slice]
        results = []
        for done, number in enumerate(numbers, start=1):
            results.append(self._segment_slice(number))
            if progress is not None:
                progress(done, len(numbers))
        if isinstance(slice, str):
            edited = {index for edits in self.edits.values() for index in edits}
            keep_largest_components(self.label, [index for index in self.largest if index not in edited])
        return results

    def propagate(
        self,
        from_slice: int,
        *,
        labels: Sequence[str | int] | None = None,
        min_quality: float = 0.6,
        min_overlap: float = 0.5,
        max_slices: int | None = None,
    ) -> dict[str, list[int]]:
        """Carry a corrected slice's masks to its neighbours, both ways, as one step.

        Each mask gives its neighbour a box and a point; the answer goes on if its predicted quality and its overlap
        with the mask it came from hold. Slices that somebody has edited stop it.

        Args:
            from_slice: the corrected slice.
            labels: classes to carry; by default those in the slice's mask.
            min_quality: least predicted IoU, where the system tells it.
            min_overlap: least Dice between a slice's mask and its neighbour's.
            max_slices: how far to go each way.

        Returns:
            Per class name, the slices that were reached.
        """
        start = self.image.check_slice(from_slice)
        if start not in self._fresh:
            self._segment_slice(start)
        present = np.unique(self.image.plane(self.label, start))
        indices = [int(i) for i in present if i] if labels is None else [self.label_index(one) for one in labels]
        reached: dict[str, list[int]] = {self.labels[index]: [] for index in indices}
        edited_before = {at: set(edits) for at, edits in self.edits.items()}
        self._record([start])
        for index in indices:
            for step in (1, -1):
                at, limit = start, max_slices or self.depth
                while 0 <= at + step < self.depth and abs(at + step - start) <= limit:
                    if index in edited_before.get(at + step, ()):
                        break
                    if not self._carry(at, at + step, index, min_quality, min_overlap):
                        break
                    at += step
                    reached[self.labels[index]].append(at)
        return {name: sorted(slices) for name, slices in reached.items()}

    def undo(self) -> list[int]:
        """Take the last step back; the slices that changed, none where there is no step."""
        return self._swap(self.history.done, self.history.undone)

    def redo(self) -> list[int]:
        """Take the last undone step again; the slices that changed."""
        return self._swap(self.history.undone, self.history.done)

    def save(self, path: str | Path) -> Path:
        """Write the label map, and beside it the session as <name>.session.json; the ending chooses the format.

        Raises:
            ValueError: the ending does not fit the image.
        """
        return save_session(self, Path(path))

    # -- inside ------------------------------------------------------------------------------------------------

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

    def _editable_points(self, index: int, slice: int) -> list[SessionPoint]:
        edits = self.edits.get(slice, {})
        if index not in edits and self.answers.known(slice, edits) is None:
            self._segment_slice(slice)
        return self.points(index, slice)

    def _network_points(self, index: int, slice: int) -> list[SessionPoint]:
        """The network's own points of a class in a slice, whatever a person made of them."""
        edits = self.edits.get(slice, {})
        if self.answers.known(slice, edits) is None:
            self._segment_slice(slice)
        known = self.answers.known(slice, edits)
        return points_in(self.image, known, slice, index) if known else []

    @staticmethod
    def _pick(points: list[SessionPoint], index: int) -> SessionPoint:
        if not 0 <= index < len(points):
            raise ValueError(f"index must count one of {len(points)} points, got {index}.")
        return points[index]

    def _in_slice(self, voxel: Voxel, number: int) -> Voxel:
        return tuple(float(number) if axis == self.image.axis else v for axis, v in enumerate(voxel))  # type: ignore[return-value]

    def _set_points(self, slice: int, index: int, points: list[SessionPoint]) -> None:
        self._record([slice])
        self._store(slice, changed(self.edits.get(slice, {}), index, points=tuple(points)))

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

    def _carry(self, source: int, target: int, index: int, min_quality: float, min_overlap: float) -> bool:
        """Segment a class in `target` from its mask in `source`; undone, and False, where it does not hold."""
        mask = self.image.plane(self.label, source) == index
        found = prompts_of_mask(mask)
        if found is None:
            return False
        edges, (x, y) = found
        before = self._capture([target])
        points = (SessionPoint(self.image.voxel(target, x, y)),)
        corners = box_corners(self.image, target, edges)
        edits = changed(self.edits.get(target, {}), index, points=points, box=corners, box_given=True)
        self.history.widen(before)
        self._store(target, edits)
        result = self._segment_slice(target)
        quality = result.quality.get(self.labels[index], 1.0)
        if quality >= min_quality and overlap(mask, result.mask == index) >= min_overlap:
            return True
        state = before[target]
        self._store(target, state.edits)
        self.image.plane(self.label, target)[...] = unpack(state.mask, self.image.slice_hw)
        self.results.pop(target, None)
        return False

    def _by_name(self, values: Tensor | None) -> dict[str, float]:
        if values is None:
            return {}
        return {name: round(float(values[0, index - 1]), 4) for index, name in self.labels.items()}


__all__ = ["InteractiveSession", "SessionPoint", "SliceResult"]
