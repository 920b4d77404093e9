"""Video frames: folders of pictures in, a mask per frame out, and films of the masks and of the overlay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amsam_monai.data.files.images import LoadedImage, format_of, read_image, stem_of, write_label
from amsam_monai.data.files.load import picture_tensor
from amsam_monai.data.files.names import natural_key
from amsam_monai.data.files.palette import class_colours
from amsam_monai.handlers.overlays import draw_overlay
from amsam_monai.segment.blank import blank
from amsam_monai.segment.components import keep_largest_components
from amsam_monai.segment.films import FilmWriter
from amsam_monai.segment.segmenter import Segmenter
from amsam_monai.segment.slice_inferer import SliceInferer
from amsam_monai.transforms.sam_input import three_channels

FILMS = ("mask.mp4", "overlay.mp4")


@dataclass(frozen=True)
class Clip:
    """Frames that follow each other.

    Args:
        name: path of the folder below the root, "." for the root itself.
        frames: pictures in their order.
    """

    name: str
    frames: tuple[Path, ...]


def find_clips(root: str | Path) -> list[Clip]:
    """Every folder at or below `root` that holds pictures, as a clip; frames in natural order (2 before 10).

    Reads SUN-SEG's `Frame/case1_1/*.jpg` as well as one folder of frames.

    Raises:
        FileNotFoundError: no such folder, or no picture below it.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: must be a folder of frames, or of folders of frames; no such folder.")
    folders = sorted(
        [root, *(path for path in root.rglob("*") if path.is_dir())], key=lambda path: natural_key(str(path))
    )
    clips = []
    for folder in folders:
        pictures = [path for path in folder.iterdir() if path.is_file() and format_of(path) == "picture"]
        if pictures and not any(part.startswith(".") for part in folder.relative_to(root).parts):
            frames = tuple(sorted(pictures, key=lambda path: natural_key(path.name)))
            clips.append(Clip(folder.relative_to(root).as_posix(), frames))
    if not clips:
        raise FileNotFoundError(f"{root}: must hold frames as pictures (.jpg, .png, ...), got none.")
    return clips


class FrameSmoother:
    """Exponential mean of logits over time: s_t = a * s_(t-1) + (1 - a) * z_t.

    It looks back only, so it serves live video too. A frame of another size starts anew.

    Args:
        memory: a, in [0, 1): 0 leaves every frame as it is; the past fades to 1/e in -1 / ln(a) frames.

    Shape: (K+1, H, W) -> the same.

    Raises:
        ValueError: memory outside [0, 1).
    """

    def __init__(self, memory: float) -> None:
        if not 0 <= memory < 1:
            raise ValueError(f"memory must lie in [0, 1), got {memory}.")
        self.memory = memory
        self.mean: Tensor | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """The smoothed logits of the next frame."""
        if self.mean is None or self.mean.shape != logits.shape:
            self.mean = logits
        else:
            self.mean = self.memory * self.mean + (1 - self.memory) * logits
        return self.mean


class FrameSegmenter:
    """Segment clips frame by frame, as AutoSAM does SUN-SEG (arXiv:2306.06370, section 4); smooth over time if asked.

    Args:
        segmenter: gives network, intensity, label names and components to keep.
        memory: how much of the past a frame's logits keep, see `FrameSmoother`; 0 as in the paper.
        batch_size: frames per call of the network.
        films: write mask.mp4 and overlay.mp4 into each clip's folder.
        rate: frames per second of the films.

    Raises:
        ValueError: memory outside [0, 1), or a batch size or rate that is none.
        ImportError: films are wanted and OpenCV is not installed.
    """

    def __init__(
        self, segmenter: Segmenter, *, memory: float = 0.0, batch_size: int = 4, films: bool = False, rate: float = 25.0
    ) -> None:
        FrameSmoother(memory)
        if batch_size < 1 or rate <= 0:
            raise ValueError(f"batch_size and rate must be positive, got {batch_size} and {rate}.")
        if films:
            FilmWriter.check()
        self.segmenter, self.memory, self.batch_size = segmenter, memory, batch_size
        self.films, self.rate = films, rate

    def __call__(self, clip: Clip, target: str | Path, *, progress: Callable[[int], None] | None = None) -> list[Path]:
        """Write TARGET/<clip>/<frame>.png with class indices for each frame; the paths written, films last.

        Args:
            clip: of `find_clips`.
            target: folder.
            progress: called with the number of frames done.

        Raises:
            ValueError: the masks would lie where the frames are, or two frames have one name.
            ImageFileError: a frame cannot be read.
        """
        folder = Path(target) / clip.name
        if folder.resolve() == clip.frames[0].parent.resolve():
            raise ValueError(f"{folder}: masks must not lie among their frames; choose another folder.")
        paths = [folder / f"{stem_of(frame)}.png" for frame in clip.frames]
        if len(set(paths)) < len(paths):
            raise ValueError(f"{clip.frames[0].parent}: frames must differ in more than their endings.")
        classes = self.segmenter.classes
        with ExitStack() as films:
            writers = [films.enter_context(FilmWriter(folder / name, self.rate)) for name in FILMS if self.films]
            for number, (path, (frame, label)) in enumerate(zip(paths, self.labels(clip.frames), strict=True), start=1):
                write_label(path, classes.written(label), frame, classes.written_names)
                for writer, picture in zip(writers, self._pictures(frame, label), strict=False):
                    writer.add(picture)
                if progress is not None:
                    progress(number)
        return [*paths, *(writer.path for writer in writers)]

    def labels(self, frames: Sequence[Path]) -> Iterator[tuple[LoadedImage, np.ndarray]]:
        """Frame and label map (H, W) of each frame, in order."""
        smooth = FrameSmoother(self.memory)
        for batch in self._batches(frames):
            pixels = torch.stack([self._pixels(frame) for frame in batch])
            for frame, logits, empty in zip(batch, self._logits(pixels), blank(pixels).tolist(), strict=True):
                label = np.zeros(frame.spatial_shape, dtype=np.uint8)
                if not empty:  # a blank frame is background, and nothing to remember
                    label = smooth(logits).argmax(0).to(torch.uint8).cpu().numpy()
                keep_largest_components(label, self.segmenter.classes.largest)
                yield frame, label

    def _batches(self, frames: Sequence[Path]) -> Iterator[list[LoadedImage]]:
        """Consecutive frames of one size together."""
        batch: list[LoadedImage] = []
        for path in frames:
            frame = read_image(path)
            if batch and (len(batch) == self.batch_size or frame.array.shape != batch[0].array.shape):
                yield batch
                batch = []
            batch.append(frame)
        yield batch

    @torch.no_grad()
    def _logits(self, pixels: Tensor) -> Tensor:
        device = next((parameter.device for parameter in self.segmenter.network.parameters()), torch.device("cpu"))
        inferer = SliceInferer(flips=self.segmenter.slices.get("flips") or ())
        return inferer(pixels.to(device), self.segmenter.network).float()

    def _pixels(self, frame: LoadedImage) -> Tensor:
        """A frame as the network takes it. Shape (3, H, W), in [0, 1]."""
        picture, intensity = picture_tensor(frame), self.segmenter.intensity
        return three_channels(intensity.apply(picture, intensity.limits(picture)))

    def _pictures(self, frame: LoadedImage, label: np.ndarray) -> Iterator[np.ndarray]:
        """A frame of each film, in the order of FILMS."""
        yield class_colours()[label]
        pixels = self._pixels(frame)
        yield np.asarray(draw_overlay(pixels, pred=torch.from_numpy(label)[None], side=max(frame.spatial_shape)))
