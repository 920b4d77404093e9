"""What is to be segmented and where its label map goes; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amsam_monai.data.datasets.paired_folders import label_folders
from amsam_monai.data.files.images import LoadedImage, format_of, label_suffix, list_inputs, stem_of
from amsam_monai.data.files.inputs import list_unread, outside
from amsam_monai.data.files.names import result_stems
from amsam_monai.data.files.writers import DEFAULT_SUFFIXES, LABEL_SUFFIXES


@dataclass(frozen=True)
class Job:
    """One input and where its label map goes.

    Args:
        source: file or DICOM folder.
        stem: path of what is written, without its ending.
        output: path of the label map, where the user chose it.
    """

    source: Path
    stem: Path
    output: Path | None = None

    def beside(self, ending: str) -> Path:
        """A path that begins as the label map's."""
        return self.stem.with_name(self.stem.name + ending)

    def label_path(self, image: LoadedImage) -> Path:
        """Path of the label map; refuses to write over the input."""
        path = self.output or self.beside(label_suffix(image))
        if path.resolve() == self.source.resolve():
            raise ValueError("the label map would overwrite its image; choose another folder or name.")
        return path

    def existing(self) -> Path | None:
        """The label map, where it is there already."""
        candidates = [self.output] if self.output else [self.beside(ending) for ending in DEFAULT_SUFFIXES]
        found = (path for path in candidates if is_written(path) and path.resolve() != self.source.resolve())
        return next(found, None)


def is_written(path: Path) -> bool:
    """Whether a file is there and holds something."""
    return path.is_file() and path.stat().st_size > 0


def plan(source: str | Path, target: str | Path) -> list[Job]:
    """Inputs and outputs: a file to a file (or into a folder), a folder to a folder with the same subfolders.

    Folders of labels beside images are left out, see `label_folders`. Two inputs of one name (a.png, a.jpg) get their
    endings into the names of their outputs. Files that may be images and are not read become jobs too, so that the
    report lists them as failed.

    Raises:
        FileNotFoundError: there is no such input, or the folder holds nothing to segment.
        ValueError: the output is of a format that is not written, or is the input folder.
    """
    source, target = Path(source), Path(target)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder.")
    inputs = list_inputs(source) if source.is_dir() else [source]
    unread = list_unread(source) if source.is_dir() else []
    if inputs == [source] and format_of(target) is not None:
        if not target.name.lower().endswith(LABEL_SUFFIXES):
            raise ValueError(f"{target}: the ending must be one of {' '.join(LABEL_SUFFIXES)}; choose one.")
        return [Job(source, target.with_name(stem_of(target)), target)]
    if source.is_dir():
        if target.resolve() == source.resolve():
            raise ValueError(f"{target}: the output must not be the input folder; give another one.")
        others = [target, *label_folders(source)]
        inputs, unread = outside(inputs, others), outside(unread, others)
    if not inputs and not unread:
        raise FileNotFoundError(f"{source}: holds no image, volume or DICOM series; see `amsam segment --help`.")
    return [Job(path, target / stem) for path, stem in result_stems(inputs, source).items()] + [
        Job(path, target / path.parent.relative_to(source) / path.name.replace(".", "_")) for path in unread
    ]
