"""The interactive session: a person's clicks, boxes and corrections on an image or volume, with any system."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.classes import Classes
from amsam_monai.data.files.images import LoadedImage
from amsam_monai.networks.systems.system import System
from amsam_monai.segment.components import keep_largest_components
from amsam_monai.segment.embeddings_lru import EmbeddingLRU
from amsam_monai.segment.limits import check_limits
from amsam_monai.segment.segmenter import SegmentedImage
from amsam_monai.session.answers import SliceAnswers
from amsam_monai.session.edits import SessionPoint, SliceEdits
from amsam_monai.session.expected import ExpectedDice
from amsam_monai.session.files import restore_session, save_session
from amsam_monai.session.history import unpack
from amsam_monai.session.image import SessionImage, Voxel, load_source
from amsam_monai.session.open_image import OpenImage, SliceResult
from amsam_monai.session.propagation import Propagation, Proposal
from amsam_monai.session.stroke_edits import StrokeEdits
from amsam_monai.session.strokes import LASSO_POINTS, SCRIBBLE_POINTS
from amsam_monai.transforms.intensity import Intensity


class InteractiveSession:
    """Segment an image or volume with a person in the loop.

    Coordinates at the door are voxels (i, j, k) of the stored image as it is loaded, whatever its orientation; of a
    picture (column, row). A slice's number is the voxel index along the axis that slices follow (`slice_axis`).
    Prompts wait until `segment` is called; `undo` and `redo` bring edits and masks back together.

    Args:
        net: a system; it is put into evaluation mode.
        labels: name of every class index above 0; "class 1", ... by default.
        intensity: `Intensity`, or its arguments.
        slices: arguments of `SliceInferer`: axis, orientation, neighbours, flips. With flips a click costs two or
            four decodings instead of one, and a new slice as many embeddings.
        largest_component: keep the largest component of these classes (True: all) where the whole image was segmented
            and nobody has edited them.
        label_values: what saved label maps hold, by class index; class indices by default.
        limits: what `warnings` goes by; the settings', see `measure_limits`.
        quality: what `expected_dice` goes by; the settings', see `fit_quality`.
        cache: embeddings, shared between sessions; 512 MiB of its own by default.
        lock: taken while the network runs, where sessions in several threads share it.

    Raises:
        ValueError: labels that are not the network's classes, or values that do not fit them.
    """

    def __init__(
        self,
        net: System,
        labels: Mapping[int, str] | None = None,
        *,
        intensity: Intensity | Mapping[str, Any] | None = None,
        slices: Mapping[str, Any] | None = None,
        largest_component: bool | Sequence[str] = False,
        label_values: Mapping[int, int] | None = None,
        limits: Mapping[str, Any] | None = None,
        quality: Mapping[str, Any] | None = None,
        cache: EmbeddingLRU | None = None,
        lock: threading.Lock | None = None,
    ) -> None:
        count = net.num_classes
        names = labels or {index: f"class {index}" for index in range(1, count + 1)}
        self.classes = Classes.of(names, largest_component=largest_component, values=label_values)
        self.labels = dict(self.classes.names)
        if list(self.labels) != list(range(1, count + 1)):
            raise ValueError(f"labels must name the classes 1 to {count}, got {self.labels}.")
        self.net = net.eval()
        self.intensity = intensity if isinstance(intensity, Intensity) else Intensity(**(intensity or {}))
        self.slices, self.limits, self.quality = dict(slices or {}), limits, quality
        self.cache = EmbeddingLRU() if cache is None else cache  # an empty cache is false
        self.lock = lock or threading.Lock()
        self._opened: OpenImage | None = None

    @classmethod
    def of_bundle(cls, bundle: Any, **options: Any) -> InteractiveSession:
        """A session with a bundle's network and settings; `options` as of the class."""
        settings = {
            "intensity": bundle.intensity,
            "slices": bundle.slices,
            "largest_component": bundle.largest_component,
            "label_values": bundle.label_values,
            "limits": bundle.limits,
            "quality": bundle.quality,
        }
        return cls(bundle.network, bundle.labels, **{**settings, **options})

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
        self._expected = ExpectedDice(self.quality, self.labels)
        observe = self._expected.observe if self.quality else None
        flips = self.slices.get("flips") or ()
        answers = SliceAnswers(self.net, image, self.cache, self.lock, flips, observe=observe)
        self._opened = OpenImage(image, answers, self.labels)
        if state is not None:
            restore_session(self, state)
        return image

    @property
    def is_open(self) -> bool:
        """Whether an image is open."""
        return self._opened is not None

    @property
    def opened(self) -> OpenImage:
        """The open image with its masks and prompts.

        Raises:
            ValueError: no image is open.
        """
        if self._opened is None:
            raise ValueError("no image is open; call open(path) first.")
        return self._opened

    @property
    def image(self) -> SessionImage:
        """The open image."""
        return self.opened.image

    @property
    def label(self) -> np.ndarray:
        """Class indices of the open image, to read and to write. Shape (H, W) or (I, J, K), uint8."""
        return self.opened.label

    @property
    def edits(self) -> dict[int, SliceEdits]:
        """A person's prompts by slice and class."""
        return self.opened.edits

    @property
    def is_edited(self) -> bool:
        """Whether a person prompted or painted anything."""
        return bool(self.opened.edits or self.opened.painted)

    @property
    def results(self) -> dict[int, SliceResult]:
        """What the network says of the slices segmented so far."""
        return self.opened.results

    @property
    def answers(self) -> SliceAnswers:
        """The network on the open image's slices."""
        return self.opened.answers

    @property
    def warnings(self) -> list[str]:
        """What of the image, and of its masks as they are now, is beyond the model's limits, a sentence each."""
        image, whole = self.image, len(self.results) == self.depth
        if self.limits is None:
            return []
        result = SegmentedImage(image.source, self.label, self.labels, limits=image.limits, view=image.view)
        return check_limits(result, self.limits, self.intensity, complete=whole)

    def expected_dice(self, slice: int | None = None) -> dict[str, tuple[float, float]]:
        """Per class name, the Dice to expect of the mask as it is now, and its error (one standard deviation).

        Empty where the bundle has no calibration for it. Classes that a person painted there are left out. It was
        calibrated on masks of the network alone: after a correction it is a rough guess.

        Args:
            slice: one that was segmented; None is the whole image, once all its slices are.
        """
        return self._expected.of(self.opened, None if slice is None else self.image.check_slice(slice))

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

    def segment(
        self, slice: int | str | Iterable[int] = "all", *, progress: Callable[[int, int], None] | None = None
    ) -> SliceResult | list[SliceResult]:
        """Segment a slice, several, or "all", with the prompts there are; masks go into `label`.

        Args:
            slice: a slice's number gives its result; several numbers or "all" give a list.
            progress: called with the number of slices done and of all.
        """
        if isinstance(slice, str) and slice != "all":
            raise ValueError(f"slice must be a number, several, or 'all', got {slice!r}.")
        one = isinstance(slice, int)
        wanted = range(self.depth) if isinstance(slice, str) else [slice] if isinstance(slice, int) else list(slice)
        numbers = [self.image.check_slice(number) for number in wanted]
        results = []
        for done, number in enumerate(numbers, start=1):
            results.append(self.opened.segment(number))
            if progress is not None:
                progress(done, len(numbers))
        if isinstance(slice, str) or (numbers and self.depth == 1):
            edited = {index for edits in self.edits.values() for index in edits}
            edited |= {index for number in self.opened.painted for index in self.opened.painted_classes(number)}
            keep_largest_components(self.label, [index for index in self.classes.largest if index not in edited])
        return results[0] if one else results

    def points(self, label: str | int, slice: int | None = None) -> list[SessionPoint]:
        """Points of a class, those that the network chose included, in the order that `index` counts.

        Args:
            label: name or index of the class.
            slice: the slice; None gives those of all slices that were segmented or edited.
        """
        return self._prompts.points(self.label_index(label), slice)

    def box(self, label: str | int, slice: int) -> tuple[Voxel, Voxel] | None:
        """Two corner voxels of a class's box in a slice, a person's or the network's, or None."""
        return self.opened.box(self.label_index(label), self.image.check_slice(slice))

    def add_point(self, label: str | int, voxel: Sequence[float], positive: bool = True) -> SessionPoint:
        """Add a point of a class, positive inside it or negative outside.

        Raises:
            ValueError: unknown label, or a voxel outside the image.
        """
        return self._prompts.add_point(self.label_index(label), voxel, positive)

    def move_point(self, label: str | int, slice: int, index: int, voxel: Sequence[float]) -> SessionPoint:
        """Move point `index` of a class (also one of the network's) within its slice; it is then the person's."""
        return self._prompts.move_point(self.label_index(label), slice, index, voxel)

    def remove_point(self, label: str | int, slice: int, index: int) -> None:
        """Remove point `index` of a class, also one of the network's."""
        self._prompts.remove_point(self.label_index(label), slice, index)

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
        return self._prompts.set_points(self.label_index(label), points, slice, keep_automatic)

    def scribble(
        self,
        label: str | int,
        path: Sequence[Sequence[float]],
        positive: bool = True,
        *,
        max_points: int = SCRIBBLE_POINTS,
    ) -> list[SessionPoint]:
        """Add points of a class along a stroke, as one step.

        They are spread evenly, the stroke's ends among them, at least a 32nd of the slice's longest side apart.

        Args:
            label: name or index of the class.
            path: voxels of one slice in order, at most 2000.
            positive: inside the class; otherwise outside.
            max_points: how many points at most.

        Returns:
            The points.

        Raises:
            ValueError: unknown label, a voxel outside the image, places in several slices, or too many of them.
        """
        return self._prompts.scribble(self.label_index(label), path, positive, max_points)

    def lasso(
        self,
        label: str | int,
        outline: Sequence[Sequence[float]],
        *,
        beside: bool | None = None,
        max_points: int = LASSO_POINTS,
    ) -> list[SessionPoint]:
        """Go round an object of a class: a box, points deep inside and SAM's mask prompt, as one step.

        Points of the class that contradict the outline are dropped. The mask prompt goes where its box is changed.

        Args:
            label: name or index of the class.
            outline: voxels of one slice, at most 2000, closed from the last to the first.
            beside: an object more, or a part more of a class with one box; otherwise in place of the class's boxes
                and lassos. None chooses the first where the class `has_objects`.
            max_points: how many points at most.

        Returns:
            The points.

        Raises:
            ValueError: as `scribble`, or an outline that goes round nothing.
        """
        index = self.label_index(label)
        number = self.image.slice_of(self.image.check_voxel(outline[0])) if len(outline) else 0
        several = self.net.takes_objects and self.has_objects(index, number)
        if beside is not None and self.net.takes_objects:
            several = beside
        return self._prompts.lasso(index, outline, several if beside is None else beside, several, max_points)

    def outlines(self, label: str | int, slice: int) -> list[tuple[Voxel, ...]]:
        """The lassos of a class in a slice that count, as voxels."""
        edit = self.opened.edits_of(self.image.check_slice(slice)).get(self.label_index(label))
        return [] if edit is None else list(edit.outlines)

    def paint(self, label: str | int, path: Sequence[Sequence[float]], *, size: float = 1, erase: bool = False) -> int:
        """Paint a class by hand along a stroke, or erase it, as one step; the mask is there at once.

        What is painted or erased holds whatever the network answers later. An eraser takes away its class alone.

        Args:
            label: name or index of the class.
            path: voxels of one slice in order, at most 2000; one alone is a dab.
            size: diameter of the brush in pixels of the slice, from 1 to 201.
            erase: take the class away.

        Returns:
            How many pixels of the label map changed.

        Raises:
            ValueError: as `scribble`, or a size that is not from 1 to 201.
        """
        return self._prompts.paint(self.label_index(label), path, size, erase)

    def set_box(self, label: str | int, corner: Sequence[float], opposite: Sequence[float]) -> list[int]:
        """Give a class a box by two opposite corner voxels, in any order, both inside it.

        Corners in different slices give the box to each slice between. Gives the slices that had another box.
        """
        return self._prompts.set_box(self.label_index(label), corner, opposite)

    def boxes(self, label: str | int, slice: int) -> list[tuple[Voxel, Voxel]]:
        """Corner voxels of the boxes of a class's objects in a slice, a person's or the network's, in their order."""
        return self._prompts.boxes(self.label_index(label), slice)

    def has_objects(self, label: str | int, slice: int) -> bool:
        """Whether a class has a box for each object in a slice: by the network, or since a person gave such boxes."""
        index = self.label_index(label)
        edit = self.opened.edits_of(self.image.check_slice(slice)).get(index)
        if edit is not None and edit.boxed:
            return edit.boxes is not None
        return self.net.takes_objects and self.net.has_objects(index)

    def object_at(self, label: str | int, voxel: Sequence[float]) -> int | None:
        """Index of the object of a class that a point there belongs to: the smallest of `boxes` that holds it.

        None is no box's: such a point of a class with boxes is an object of its own. A negative point is for all.
        """
        return self._prompts.object_at(self.label_index(label), voxel)

    def box_quality(self, label: str | int, slice: int) -> list[float | None]:
        """Predicted IoU of the object in each of `boxes`, in their order; None where the network does not tell."""
        return self.opened.box_quality(self.label_index(label), self.image.check_slice(slice))

    def set_boxes(
        self,
        label: str | int,
        boxes: Iterable[tuple[Sequence[float], Sequence[float]]],
        *,
        empty: Iterable[int] = (),
        keep_automatic: bool = False,
    ) -> list[int]:
        """Replace a person's boxes of a class's objects in every slice by these, as one step.

        Args:
            label: name or index of the class.
            boxes: corners as in `set_box`, any number; in slices without any the network's own count again.
            empty: slices that have no box, the network's own included, but for those of `boxes`.
            keep_automatic: add them to the network's own; otherwise they are all there are in their slices.

        Returns:
            The slices whose boxes changed.

        Raises:
            ValueError: several in a slice for a network that takes one box a class, or a corner outside the image.
        """
        given = self.check_boxes(boxes)
        return self._prompts.set_boxes(self.label_index(label), given, empty, keep_automatic)

    def check_boxes(self, boxes: Iterable[tuple[Sequence[float], Sequence[float]]]) -> list[tuple[Voxel, Voxel]]:
        """The boxes that `set_boxes` would take.

        Raises:
            ValueError: as `set_boxes`.
        """
        given = [(self.image.check_voxel(one), self.image.check_voxel(other)) for one, other in boxes]
        self._prompts.by_slice(given)
        return given

    def add_box(self, label: str | int, corner: Sequence[float], opposite: Sequence[float]) -> list[int]:
        """Add an object of a class by its box, beside those that are there, the network's included.

        Corners as in `set_box`, which gives the class one box instead of all. Gives the slices.

        Raises:
            ValueError: a network that takes one box a class, or a corner outside the image.
        """
        return self._prompts.add_box(self.label_index(label), corner, opposite)

    def move_box(
        self, label: str | int, slice: int, index: int, corner: Sequence[float], opposite: Sequence[float]
    ) -> None:
        """Give box `index` of a class's objects (also one of the network's) other corners, in its slice."""
        self._prompts.move_box(self.label_index(label), slice, index, corner, opposite)

    def drop_boxes(self, label: str | int) -> list[int]:
        """Forget a person's boxes of a class in all slices, as one step; gives the slices."""
        return self._prompts.drop_boxes(self.label_index(label))

    def remove_box(self, label: str | int, slice: int, index: int | None = None) -> None:
        """Take a class's box away, also the network's own; all of them, or that of object `index`."""
        if index is None:
            self._prompts.remove_box(self.label_index(label), slice)
        else:
            self._prompts.remove_object(self.label_index(label), slice, index)

    def clear(self, label: str | int | None = None, slice: int | None = None) -> list[int]:
        """Drop a person's prompts (and the masks they led to) of a class, or all; in a slice, or all. As one step."""
        return self._prompts.clear(None if label is None else self.label_index(label), slice)

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

        Each mask gives its neighbour a box and a point, beside the network's own points against the class; the answer
        goes on if its predicted quality and its overlap with the mask it came from hold. Slices that somebody has
        edited stop it.

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
        indices = None if labels is None else [self.label_index(label) for label in labels]
        carrier = Propagation(self.opened, min_quality=min_quality, min_overlap=min_overlap)
        reached = carrier.carry_all(start, indices, max_slices)
        return {self.labels[index]: numbers for index, numbers in reached.items()}

    def propose(self, from_slice: int, **options: Any) -> Proposal:
        """What `propagate` would give, to look at; the session stays as it is. `options` are those of `propagate`."""
        undone, revision = list(self.opened.history.undone), self.opened.revision
        reached = self.propagate(from_slice, **options)
        numbers = sorted({number for some in reached.values() for number in some})
        after = self.opened.capture(numbers)
        self.opened.restore(self.opened.history.done.pop())
        self.opened.history.undone[:] = undone
        self.opened.revision = revision
        masks = {number: unpack(state.mask, self.image.slice_hw) for number, state in after.items()}
        return Proposal(reached, masks, after, revision)

    def fits(self, proposal: Proposal) -> bool:
        """Whether a proposal can be taken: nobody has edited the image since."""
        return proposal.revision == self.opened.revision

    def take(self, proposal: Proposal) -> list[int]:
        """Take a proposal, as one step; gives the slices.

        Raises:
            ValueError: the image has been edited since.
        """
        if not self.fits(proposal):
            raise ValueError("a proposal must be taken before anything else is edited; propose again.")
        if proposal.after:
            self.opened.history.record(self.opened.capture(proposal.after))
            self.opened.restore(proposal.after)
        return sorted(proposal.after)

    def undo(self) -> list[int]:
        """Take the last step back; the slices that changed, none where there is no step."""
        return self.opened.undo()

    def redo(self) -> list[int]:
        """Take the last undone step again; the slices that changed."""
        return self.opened.redo()

    def save(self, path: str | Path) -> Path:
        """Write the label map, and beside it the session as <name>.session.json; the ending chooses the format.

        Raises:
            ValueError: the ending does not fit the image.
        """
        return save_session(self, Path(path))

    @property
    def _prompts(self) -> StrokeEdits:
        return StrokeEdits(self.opened)


__all__ = ["InteractiveSession", "SessionPoint", "SliceResult"]
