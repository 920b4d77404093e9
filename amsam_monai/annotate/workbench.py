"""What one browser tab works on: files, a session, and what is shown of it. No web in here."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.annotate.contrast import AS_SEEN
from amsam_monai.annotate.previews import Previews
from amsam_monai.data.datasets.paired_folders import list_images
from amsam_monai.data.files.images import stem_of
from amsam_monai.segment.ranking import certainty, least_certain, sample_slices
from amsam_monai.session.files import sidecar_of, state_of
from amsam_monai.session.session import InteractiveSession

MAX_RANKED = 50
UNSAVED, REPLACED = ".unsaved", ".replaced"  # folders below the label maps
FORMATS = {
    "image": {"PNG": ".png", "TIFF": ".tif"},
    "volume": {"NIfTI": ".nii.gz", "NRRD": ".nrrd"},
    "dicom": {"DICOM-SEG": ".dcm", "NIfTI": ".nii.gz", "NRRD": ".nrrd"},
}

Progress = Callable[[int, int], None]


class Workbench(Previews):
    """Files to work through, the open image's session, and the view of it.

    Args:
        session: of a bundle.
        files: images to step through.
        out: folder where label maps are saved.
        side: pixels of a picture's side on the screen.
    """

    def __init__(self, session: InteractiveSession, files: Sequence[Path], out: Path, *, side: int = 640) -> None:
        super().__init__(session, side=side)
        self.files, self.out = list(files), out
        self.lock = threading.RLock()  # taken by who acts on it from several threads
        self.last_event: int | None = None
        self.certainties: dict[Path, float] = {}
        self.saved: set[Path] = set()
        self.names: dict[str, Path] = {}  # name of a label map, without its ending -> whose it is
        self.replaced: Path | None = None  # where the last save put the label map that was there
        self._saved_state: dict[str, Any] | None = None
        self._written: dict[Path, tuple[int, int]] = {}  # label map -> its state when this tab wrote it

    @property
    def is_open(self) -> bool:
        """Whether an image is open."""
        return hasattr(self, "path")

    def open(self, path: Path, when_read: Callable[[], None] | None = None) -> None:
        """Open an image; its middle slice is segmented. What was not saved of the one before is kept in a file.

        Args:
            path: of the image.
            when_read: called before the network starts.

        Raises:
            FileNotFoundError, ImageFileError: as `read_image`.
            OSError: unsaved work cannot be kept; the image before stays open.
        """
        self.keep_unsaved()
        self.session.open(path)
        self._saved_state = None
        image = self.session.image
        self.path = Path(path)
        if self.path not in self.files:
            self.files.append(self.path)
        i, j, k = (size // 2 for size in image.voxel_shape)
        self.cursor = (i, j, k)
        self.plane = self._own_plane() if image.view else "image"
        self.choose_contrast(AS_SEEN)
        self.proposal = None
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
            slices={**self.session.slices, "flips": ()},  # how sure it is shows in the image as it is, at less cost
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
        return FORMATS["dicom" if source.format == "dicom" and source.kind == "volume" else source.kind]

    def save(self, form: str) -> Path:
        """Save label map and session; gives the label map's path.

        A label map that this tab did not write is kept beside it first, see `replaced`.

        Raises:
            ValueError: the image is not saved in this format.
        """
        if form not in self.formats:
            raise ValueError(f"the format must be one of {', '.join(self.formats)}, got {str(form)[:40]!r}.")
        path = self.out / f"{self._name()}{self.formats[form]}"
        self.replaced = None
        if path.is_file() and self._written.get(path) != _state_of_file(path):
            self.replaced = _free(self.out / REPLACED / path.name)
            self.replaced.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, self.replaced)
            if sidecar_of(path).is_file():
                shutil.copy2(sidecar_of(path), sidecar_of(self.replaced))
        self.session.save(path)
        self._written[path] = _state_of_file(path)
        self.saved.add(self.path)
        self._saved_state = self._state()
        return path

    def keep_unsaved(self) -> Path | None:
        """Write label map and session below out/.unsaved, where a person's prompts are in no file; gives the path."""
        if not self.unsaved:
            return None
        ending = ".png" if self.session.image.source.kind == "image" else ".nii.gz"
        path = self.session.save(_free(self.out / UNSAVED / f"{stem_of(self.path)}_label{ending}"))
        self._saved_state = self._state()
        return path

    def _name(self) -> str:
        """Name of the open image's label map; images of one name, from several folders, get a number."""
        names = (f"{stem_of(self.path)}_label{'' if number == 1 else f'_{number}'}" for number in count(1))
        name = next(one for one in names if self.names.get(one, self.path) == self.path)
        self.names[name] = self.path
        return name

    @property
    def unsaved(self) -> bool:
        """Whether a person's prompts would be lost with this workbench."""
        return self.is_open and self.session.is_edited and self._state() != self._saved_state

    def _state(self) -> dict[str, Any]:
        return state_of(self.session, "")

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
        """Drop what the person did to the class in this slice."""
        self.session.clear(self.label, self.slice)
        self.update()
        return f"Prompts for {self.session.labels[self.label]} dropped in this slice."

    def segment_all(self, progress: Progress | None = None) -> str:
        """Segment every slice with the prompts there are."""
        self.session.segment("all", progress=progress)
        return " ".join(f"{one}." for one in (f"All {self.session.depth} slices are segmented", *self.session.warnings))

    def facts(self) -> list[dict[str, Any]]:
        """Per class: name, index, quality and presence in this slice; size in all, in ml, px or voxels.

        With `error`, quality is the Dice to expect; where the network is not calibrated it is its predicted IoU.
        """
        result, source = self.session.results.get(self.slice), self.session.image.source
        expected, unit = self.session.expected_dice(self.slice), "px" if source.kind == "image" else "voxels"
        rows = []
        for index, name in self.session.labels.items():
            count = int(np.count_nonzero(self.session.label == index))  # of a large volume in milliseconds
            size = f"{count * source.voxel_ml:.1f} ml" if source.voxel_ml else f"{count} {unit}"
            row = {"index": index, "name": name, "size": size, "presence": result and result.presence.get(name)}
            if self.calibrated:
                value, error = expected.get(name, (None, None))
                rows.append({**row, "quality": value, "error": error})
            else:
                rows.append({**row, "quality": result and result.quality.get(name)})
        return rows

    @property
    def calibrated(self) -> bool:
        """Whether the network tells the Dice to expect in a slice of the open image."""
        return ("case" if self.session.image.view is None else "slice") in (self.session.quality or {})


def _free(path: Path) -> Path:
    """The path, with a number before its ending where something of this name is there."""
    stem = stem_of(path)
    ending = path.name[len(stem) :]
    names = (f"{stem}{'' if number == 1 else f'_{number}'}" for number in count(1))
    free = (path.with_name(name + ending) for name in names)
    return next(one for one in free if not one.exists() and not sidecar_of(one).exists())


def _state_of_file(path: Path) -> tuple[int, int]:
    """What changes whenever a file is written anew."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def find_files(path: Path) -> list[Path]:
    """Files to work through: the one given, or those in a folder that can be read and are no labels of others.

    Raises:
        FileNotFoundError: there is no such path.
    """
    if path.is_dir():
        return list_images(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    return [path]
