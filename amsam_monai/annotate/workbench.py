"""What one browser tab works on: files, a session, and what is shown of it. No web in here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.annotate.drawing import Canvas, Mark, draw
from amsam_monai.data.files import list_inputs, stem_of
from amsam_monai.data.slices import PLANES, SliceView
from amsam_monai.inferers.ranking import certainty, least_certain, sample_slices
from amsam_monai.inferers.session import InteractiveSession
from amsam_monai.inferers.session_edits import box_edges

TOOLS = ("add", "remove", "box", "delete", "look")
REACH = 14.0  # screen pixels within which a click hits a point
MAX_RANKED = 50
FORMATS = {
    "image": {"PNG": ".png", "TIFF": ".tif"},
    "volume": {"NIfTI": ".nii.gz", "NRRD": ".nrrd"},
    "dicom": {"DICOM-SEG": ".dcm", "NIfTI": ".nii.gz", "NRRD": ".nrrd"},
}

Progress = Callable[[int, int], None]


class Workbench:
    """Files to work through, the open image's session, and the view of it.

    Args:
        session: of a bundle.
        files: images to step through.
        out: folder where label maps are saved.
        side: pixels of a picture's side on the screen.
    """

    def __init__(self, session: InteractiveSession, files: Sequence[Path], out: Path, *, side: int = 640) -> None:
        self.session, self.files, self.out, self.side = session, list(files), out, side
        self.label, self.tool, self.opacity = next(iter(session.labels)), "add", 0.4
        self.plane, self.cursor = "image", (0, 0, 0)
        self.window: tuple[float, float] = (0.5, 1.0)  # level and width, of the range that the network sees
        self.lock = threading.RLock()  # taken by who acts on it from several threads
        self.last_event: int | None = None
        self.certainties: dict[Path, float] = {}
        self.saved: set[Path] = set()

    # -- files -------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether an image is open."""
        return hasattr(self, "path")

    def open(self, path: Path, when_read: Callable[[], None] | None = None) -> None:
        """Open an image; its middle slice is segmented.

        Args:
            path: of the image.
            when_read: called before the network starts.

        Raises:
            FileNotFoundError, ImageFileError: as `read_image`.
        """
        self.session.open(path)
        image = self.session.image
        self.path = Path(path)
        if self.path not in self.files:
            self.files.append(self.path)
        i, j, k = (size // 2 for size in image.voxel_shape)
        self.cursor = (i, j, k)
        self.plane = self._own_plane() if image.view else "image"
        self.window = (0.5, 1.0)
        if when_read is not None:
            when_read()
        self.update()

    def next_uncertain(self, progress: Progress | None = None) -> Path:
        """The file, not saved yet and not open, that the network is least sure of.

        Raises:
            ValueError: there is no other file.
        """
        rest = [path for path in self.files if path not in self.saved and path != getattr(self, "path", None)]
        if not rest:
            raise ValueError("there is no other file to go to.")
        judge = InteractiveSession(
            self.session.net,
            self.session.labels,
            intensity=self.session.intensity,
            slices=self.session.slices,
            cache=self.session.cache,
            lock=self.session.lock,
        )
        for done, path in enumerate(rest[:MAX_RANKED], start=1):
            if path not in self.certainties:
                try:
                    judge.open(path)
                    self.certainties[path] = certainty(judge, sample_slices(judge.depth, 3))
                except (ValueError, OSError):
                    self.certainties[path] = 2.0  # cannot be read: last
            if progress is not None:
                progress(done, min(len(rest), MAX_RANKED))
        ranked = {str(path): self.certainties[path] for path in rest[:MAX_RANKED]}
        return Path(least_certain(ranked))

    @property
    def formats(self) -> dict[str, str]:
        """Formats that the open image's label map can be saved in, by name."""
        source = self.session.image.source
        return FORMATS["dicom" if source.format == "dicom" and source.members else source.kind]

    def save(self, form: str) -> Path:
        """Save label map and session; gives the label map's path."""
        path = self.session.save(self.out / f"{stem_of(self.path)}_label{self.formats[form]}")
        self.saved.add(self.path)
        return path

    # -- the view ----------------------------------------------------------------------------------------------

    @property
    def planes(self) -> list[str]:
        """Names of the three planes; one for a picture."""
        if self.session.image.view is None:
            return ["image"]
        if self.session.image.source.spacing_mm is None:  # no affine, or a placeholder
            return ["first axis", "second axis", "third axis"]
        return ["axial", "coronal", "sagittal"]

    @property
    def other_planes(self) -> list[str]:
        """The planes that are shown small."""
        return [name for name in self.planes if name != self.plane]

    def view(self, plane: str) -> SliceView:
        """How the volume is cut in a plane."""
        source = self.session.image.source
        axis: int | str = plane if plane in PLANES else ["first axis", "second axis", "third axis"].index(plane)
        return SliceView.of(source.array.shape, source.affine, axis=axis)

    def depth(self, plane: str | None = None) -> int:
        """Slices of a plane."""
        return self.view(plane or self.plane).depth if self.session.image.view else 1

    @property
    def place(self) -> int:
        """The slice that is shown, in the order of the plane."""
        return round(float(self.view(self.plane).to_slice(self.cursor)[0])) if self.session.image.view else 0

    def go(self, place: int) -> None:
        """Show another slice of the plane."""
        if self.session.image.view:
            view = self.view(self.plane)
            _, x, y = view.to_slice(self.cursor)
            place = min(max(place, 0), view.depth - 1)
            i, j, k = (round(float(v)) for v in view.to_voxel((place, x, y)))
            self.cursor = (i, j, k)
            self.update()

    def turn(self, plane: str) -> None:
        """Show another plane, through the same voxel."""
        if plane in self.planes:
            self.plane = plane

    @property
    def slice(self) -> int:
        """The session's slice through the cursor."""
        return self.session.image.slice_of(self.cursor)

    def update(self) -> None:
        """Segment the slice through the cursor with its prompts."""
        self.session.segment(self.slice)

    def canvas(self, plane: str, side: int | None = None) -> Canvas:
        """How a plane fills its square."""
        image = self.session.image
        if image.view is None:
            return Canvas(*image.slice_hw, side=side or self.side)
        view, spacing = self.view(plane), image.source.spacing_mm or (1.0, 1.0, 1.0)
        return Canvas(*view.slice_shape, (spacing[view.axes[1]], spacing[view.axes[2]]), side or self.side)

    def picture(self, plane: str | None = None, side: int | None = None) -> np.ndarray:
        """A plane through the cursor, with masks, points and boxes. Shape (side, side, 3), uint8."""
        plane = plane or self.plane
        image, canvas = self.session.image, self.canvas(plane, side)
        if image.view is None:
            pixels = image.pixels(0)[0].permute(1, 2, 0).numpy()
            return draw(self._windowed(pixels), self.session.label, canvas, opacity=self.opacity, **self._prompts())
        view = self.view(plane)
        place, x, y = (float(part) for part in view.to_slice(self.cursor))
        raw = view.see(image.source.array)[round(place)].astype(np.float32)
        low, high = image.limits or (float(raw.min()), float(raw.max()))
        pixels = np.clip((raw - low) / max(high - low, 1e-9), 0, 1)
        mask = view.see(self.session.label)[round(place)]
        own = view.axes[0] == image.axis
        cross = None if plane == self.plane else (x, y)
        prompts = self._prompts(view) if own else {}
        return draw(self._windowed(pixels), mask, canvas, opacity=self.opacity, cross=cross, **prompts)

    def side_rows(self, plane: str) -> tuple[int, int]:
        """First and last row of a small view: the slice with some room, not the whole square."""
        canvas = self.canvas(plane)
        height = min(max(canvas.size[1] + 24, self.side // 4), self.side)
        top = (self.side - height) // 2
        return top, top + height

    def side_picture(self, plane: str) -> np.ndarray:
        """A small view. Shape (rows, side, 3), uint8."""
        first, last = self.side_rows(plane)
        return self.picture(plane)[first:last]

    def on_screen(self, plane: str, x: float, y: float) -> tuple[float, float]:
        """A place in a picture, as fractions of its sides, in the square that the picture was cut from."""
        first, last = (0, self.side) if plane == self.plane else self.side_rows(plane)
        return x * self.side, first + y * (last - first)

    def _windowed(self, pixels: np.ndarray) -> np.ndarray:
        level, width = self.window
        return np.clip((pixels - level) / max(width, 1e-3) + 0.5, 0, 1)

    def _prompts(self, view: SliceView | None = None) -> dict[str, Any]:
        """Points and boxes of the slice through the cursor, in pixels of the view."""
        session, number = self.session, self.slice
        marks, boxes = [], {}
        for index in session.labels:
            for point in session.points(index, number):
                if point.automatic and not point.positive and index != self.label:
                    continue  # the background's points count for every class; once is enough to see
                marks.append(Mark(self._pixel(point.voxel, view), index, point.positive, point.automatic))
            if (corners := session.box(index, number)) is not None:
                if view is None or view == session.image.view:
                    boxes[index] = box_edges(session.image, corners)
                else:
                    (ax, ay), (bx, by) = (self._pixel(corner, view) for corner in corners)
                    boxes[index] = min(ax, bx), min(ay, by), max(ax, bx) + 1, max(ay, by) + 1
        return {"marks": marks, "boxes": boxes}

    def _pixel(self, voxel: Sequence[float], view: SliceView | None) -> tuple[float, float]:
        if view is None:
            return self.session.image.pixel(voxel)
        _, x, y = view.to_slice(voxel)
        return float(x), float(y)

    # -- a person's hand ---------------------------------------------------------------------------------------

    def voxel_at(self, plane: str, x: float, y: float) -> tuple[int, int, int] | None:
        """The voxel under a place on the screen; None beside the image."""
        pixel = self.canvas(plane).pixel(x, y)
        if pixel is None:
            return None
        if self.session.image.view is None:
            return round(pixel[0]), round(pixel[1]), 0
        view = self.view(plane)
        place = round(float(view.to_slice(self.cursor)[0]))
        i, j, k = (round(float(v)) for v in view.to_voxel((place, *pixel)))
        return i, j, k

    def click(self, plane: str, x: float, y: float) -> str:
        """Use the tool at a place on the screen; says what happened."""
        voxel = self.voxel_at(plane, x, y)
        if voxel is None:
            return "That is beside the image."
        self.cursor = voxel
        name = self.session.labels[self.label]
        if self.tool == "look" or self.tool == "box":
            self.update()
            return "Drag to draw a box." if self.tool == "box" else f"{self._at(voxel)}."
        if self.tool == "delete":
            return self._delete(plane, x, y)
        self.session.add_point(self.label, voxel, positive=self.tool == "add")
        self.update()
        return f"{'Added to' if self.tool == 'add' else 'Taken from'} {name} at {self._at(voxel).lower()}."

    def _at(self, voxel: tuple[int, int, int]) -> str:
        """A place in words."""
        return f"Voxel {voxel}" if self.session.image.view else f"Pixel {voxel[:2]}"

    def drag(self, plane: str, start: tuple[float, float], end: tuple[float, float]) -> str:
        """Draw a box for the class, or move the point that the drag starts on."""
        canvas = self.canvas(plane)
        (left, top), (width, height) = canvas.offset, canvas.size

        def inside(place: tuple[float, float]) -> tuple[float, float]:
            return min(max(place[0], left), left + width - 1), min(max(place[1], top), top + height - 1)

        first, last = (self.voxel_at(plane, *inside(place)) for place in (start, end))
        if first is None or last is None:
            return "That is beside the image."
        if (hit := self._hit(plane, *start)) is not None and self.tool != "box":
            self.session.move_point(hit[0], self.slice, hit[1], last)
            self.update()
            return f"Moved a point of {self.session.labels[hit[0]]}."
        if self.session.image.slice_of(first) != self.session.image.slice_of(last):
            return f"Draw boxes in the plane that the network sees, {self._own_plane()}."
        self.session.set_box(self.label, first, last)
        self.update()
        return f"Box for {self.session.labels[self.label]}."

    def _own_plane(self) -> str:
        axis = self.session.image.axis
        return next((name for name in self.planes if self.view(name).axes[0] == axis), self.planes[0])

    def _hit(self, plane: str, x: float, y: float) -> tuple[int, int] | None:
        """Class and index of the point under a place on the screen, the current class first."""
        image, canvas = self.session.image, self.canvas(plane)
        view = self.view(plane) if image.view else None
        if view is not None and view.axes[0] != image.axis:
            return None
        found = []
        for index in sorted(self.session.labels, key=lambda one: one != self.label):
            for at, point in enumerate(self.session.points(index, self.slice)):
                px, py = canvas.screen(*self._pixel(point.voxel, view))
                found.append((max(abs(px - x), abs(py - y)), index, at))
        near = [entry for entry in found if entry[0] <= REACH]
        return min(near, key=lambda entry: entry[0])[1:] if near else None

    def _delete(self, plane: str, x: float, y: float) -> str:
        hit = self._hit(plane, x, y)
        if hit is None:
            return "There is no point to delete here."
        self.session.remove_point(hit[0], self.slice, hit[1])
        self.update()
        return f"Deleted a point of {self.session.labels[hit[0]]}."

    def undo(self) -> str:
        """Take the last step back."""
        changed = self.session.undo()
        self._show(changed)
        return f"Undone ({len(changed)} slice{'s' * (len(changed) != 1)})." if changed else "Nothing to undo."

    def redo(self) -> str:
        """Take an undone step again."""
        changed = self.session.redo()
        self._show(changed)
        return f"Done again ({len(changed)} slice{'s' * (len(changed) != 1)})." if changed else "Nothing to redo."

    def _show(self, changed: Sequence[int]) -> None:
        """Go to a slice that changed, where the one shown did not."""
        if changed and self.slice not in changed:
            axis = self.session.image.axis
            i, j, k = (changed[0] if at == axis else v for at, v in enumerate(self.cursor))
            self.cursor = (i, j, k)
        self.update()

    def clear(self) -> str:
        """Drop the person's prompts for the class in this slice."""
        self.session.clear(self.label, self.slice)
        self.update()
        return f"Prompts for {self.session.labels[self.label]} dropped in this slice."

    def propagate(self) -> str:
        """Carry the class's mask to the slices around."""
        reached = self.session.propagate(self.slice, labels=[self.label])
        count = sum(len(slices) for slices in reached.values())
        return f"Carried to {count} slice{'s' * (count != 1)}." if count else "The neighbouring slices did not follow."

    def segment_all(self, progress: Progress | None = None) -> str:
        """Segment every slice with the prompts there are."""
        self.session.segment("all", progress=progress)
        return f"All {self.session.depth} slices are segmented."

    def facts(self) -> list[dict[str, Any]]:
        """Per class: name, index, quality and presence in this slice, and millilitres (or pixels) in all."""
        result, source = self.session.results.get(self.slice), self.session.image.source
        rows = []
        for index, name in self.session.labels.items():
            count = int((self.session.label == index).sum())
            size = f"{count * source.voxel_ml:.1f} ml" if source.voxel_ml else f"{count} px"
            quality = result.quality.get(name) if result else None
            presence = result.presence.get(name) if result else None
            rows.append({"index": index, "name": name, "quality": quality, "presence": presence, "size": size})
        return rows


def find_files(path: Path) -> list[Path]:
    """Files to work through: the one given, or those in a folder that can be read.

    Raises:
        FileNotFoundError: there is no such path.
    """
    if path.is_dir():
        return list_inputs(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    return [path]
