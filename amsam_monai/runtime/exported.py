"""Images and volumes through an exported model, with the masks of `amsam segment`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.classes import Classes
from amsam_monai.data.files.images import ImageFileError, LoadedImage, read_image, write_label
from amsam_monai.data.files.loaded_image import picture_values
from amsam_monai.data.slices import SliceView
from amsam_monai.runtime.network import ExportedNetwork
from amsam_monai.runtime.slices import flip_sets, log_softmax, logsumexp, slabs, softmax
from amsam_monai.segment.components import keep_largest_components
from amsam_monai.transforms.black_white import BlackAndWhite

FORMAT = "amsam_monai.export/1"
SINGLE = np.float32
Scale = Callable[[np.ndarray], np.ndarray]


class ExportedModel:
    """A folder that `amsam export --format onnx` wrote.

    Args:
        folder: with settings.json.
        threads: of the processor; None leaves it to onnxruntime.

    Raises:
        FileNotFoundError: there is no settings.json.
        ValueError: it is of another format or runtime.
        ImportError: onnxruntime is not installed.
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        file = Path(folder) / "settings.json"
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; give a folder that `amsam export` wrote.")
        self.settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        told = self.settings.get("format"), self.settings.get("runtime")
        if told != (FORMAT, "onnx"):
            raise ValueError(f"{file} must be of {FORMAT} for onnx, got {told[0]} for {told[1]}; export it anew.")
        self.classes = Classes(
            {int(index): name for index, name in self.settings["labels"].items()},
            tuple(self.settings["largest_component"]),
            {int(index): value for index, value in self.settings["written_values"].items()},
        )
        self.intensity = BlackAndWhite(**self.settings["intensity"])
        self.flips = flip_sets(self.settings["slices"]["flips"])
        self.networks = [ExportedNetwork(Path(folder), one, threads=threads) for one in self.settings["networks"]]

    def segment(self, source: str | Path | LoadedImage) -> np.ndarray:
        """Class indices of an image or a volume, as `amsam segment` finds them.

        Args:
            source: a path, or what `read_image` gave.

        Shape: -> (H, W) or (I, J, K), uint8.

        Raises:
            FileNotFoundError, ImageFileError: as `read_image`; ImageFileError also where the intensity refuses.
        """
        image = source if isinstance(source, LoadedImage) else read_image(source)
        try:
            label = self._volume(image) if image.kind == "volume" else self._picture(image)
        except ValueError as error:
            raise ImageFileError(image.path, str(error)) from error
        keep_largest_components(label, self.classes.largest)
        return label

    def save(self, label: np.ndarray, source: LoadedImage, path: str | Path) -> Path:
        """Write class indices with the values of the model's results; the ending chooses the format."""
        return write_label(path, self.classes.written(label), source, self.classes.written_names)

    def _picture(self, image: LoadedImage) -> np.ndarray:
        values = picture_values(image)
        pixels = scaled(values, self.intensity.limits(values))[None]
        return self._labels(pixels, pixels)[0]

    def _volume(self, image: LoadedImage) -> np.ndarray:
        told = self.settings["slices"]
        view = SliceView.of(image.array.shape, image.affine, axis=told["axis"], orientation=told["orientation"])
        label = np.zeros(image.array.shape, np.uint8)
        seen, written = view.see(image.array), view.see(label)
        scale = self._scale(image)
        around = told["neighbours"]
        for start, slab in slabs(seen, told["batch_size"], around):
            pixels = scale(slab.astype(SINGLE))  # (n, 2 around + 1, H, W)
            written[start : start + len(slab)] = self._labels(pixels, pixels[:, around : around + 1])
        return label

    def _scale(self, image: LoadedImage) -> Scale:
        """What scales slices (n, C, H, W) to [0, 1]."""
        if self.intensity.by_slice:
            return lambda slab: np.stack(
                [np.stack([scaled(one, self.intensity.limits(one)) for one in slices]) for slices in slab]
            )
        limits = self.intensity.limits(image.array, image.bits)
        return lambda slab: scaled(slab, limits)

    def _labels(self, pixels: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Class indices of images; background where an image has one value in each channel.

        Args:
            pixels: images with their neighbours as channels.
            own: the images alone.

        Shape: pixels (B, 1, H, W) or (B, 3 or more, H, W), own (B, C, H, W) -> (B, H, W), uint8.
        """
        images = three_channels(pixels)
        label = self._logits(images).argmax(1).astype(np.uint8)
        flat = three_channels(own).reshape(len(own), 3, -1)
        label[(flat.max(2) == flat.min(2)).all(1)] = 0
        return label

    def _logits(self, images: np.ndarray) -> np.ndarray:
        """Logits, or logarithms of mean probabilities over mirror images. Shape (B, 3, H, W) -> (B, K+1, H, W)."""
        parts = list(self._seen_from_all_sides(images))
        if len(parts) == 1:
            return parts[0]
        mean = np.mean([softmax(part) for part in parts], axis=0, dtype=SINGLE)
        return np.log(np.maximum(mean, np.finfo(SINGLE).tiny))

    def _seen_from_all_sides(self, images: np.ndarray) -> Iterator[np.ndarray]:
        for dims in self.flips:
            yield np.flip(self._mean(np.ascontiguousarray(np.flip(images, dims))), dims)

    def _mean(self, images: np.ndarray) -> np.ndarray:
        """Logits of the network; of several, logarithms of their mean probabilities."""
        answers = [network.logits(images) for network in self.networks]
        if len(answers) == 1:
            return answers[0]
        return logsumexp(np.stack([log_softmax(answer) for answer in answers])) - SINGLE(np.log(len(answers)))


def scaled(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Values between limits as float32 in [0, 1]; all 0 where the limits are one value."""
    low, high = limits
    values = values.astype(SINGLE, copy=False)
    if not low < high:
        return np.zeros_like(values)
    return np.clip((values - SINGLE(low)) / SINGLE(high - low), 0, 1)


def three_channels(images: np.ndarray) -> np.ndarray:
    """Grey three times, colours as they are, without transparency. Shape (B, C, H, W) -> (B, 3, H, W)."""
    return np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images[:, :3]
