"""From a file to its label map: what the command line, the label app and the web page call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amsam_monai.data.classes import Classes
from amsam_monai.data.files.images import ImageFileError, LoadedImage, read_image, write_label, write_probabilities
from amsam_monai.data.files.load import picture_tensor
from amsam_monai.data.slices import SliceView
from amsam_monai.segment.autocast import autocast, computed_in
from amsam_monai.segment.components import keep_largest_components
from amsam_monai.segment.doubt import Quality, quality_of
from amsam_monai.segment.encoders import compile_encoders, shrink_encoders
from amsam_monai.segment.instances import Instances, InstanceWatch
from amsam_monai.segment.limits import check_limits
from amsam_monai.segment.quality import QualityMeter
from amsam_monai.segment.shades import black_and_white
from amsam_monai.segment.shares import room_for_shares
from amsam_monai.segment.slice_inferer import SliceInferer
from amsam_monai.transforms.intensity import Intensity

logger = logging.getLogger(__name__)


@dataclass
class SegmentedImage:
    """A label map in the geometry of its image.

    Args:
        source: the image.
        label: class indices, 0 background, uint8.
        labels: name of every class index above 0.
        probabilities: of background and classes, where asked for.
        limits: stored values that became 0 and 1 for the network; None where each slice has its own.
        view: how the volume was cut; None for an image.
        values: what a saved label map holds, by class index; None holds the indices.
        warnings: what is beyond the model's limits, see `check_limits`.
        quality: how good each class is expected to be in the case and in each slice, see `quality_of`; empty where
            that was not asked for.
        sums: what quality goes by, see `QualityMeter.sums`, in the order of the view.
        instances: every object by a number of its own, where asked for.

    Shape: label (H, W) or (I, J, K), probabilities (K+1, ...), sums (D, K, SUMS).
    """

    source: LoadedImage
    label: np.ndarray
    labels: dict[int, str]
    probabilities: np.ndarray | None = None
    limits: tuple[float, float] | None = None
    view: SliceView | None = None
    values: Mapping[int, int] | None = None
    warnings: list[str] = field(default_factory=list)
    quality: Quality = field(default_factory=dict)
    sums: np.ndarray | None = None
    instances: Instances | None = None

    def save(self, path: str | Path) -> Path:
        """Write the label map; the ending chooses the format, see `write_label`."""
        return write_label(path, self.written(), self.source, self._classes.written_names)

    def written(self) -> np.ndarray:
        """The label map as `save` writes it: class indices, or the values that stand for them. Shape as `label`."""
        return self._classes.written(self.label)

    @property
    def _classes(self) -> Classes:
        return Classes.of(self.labels, values=self.values)

    def save_probabilities(self, path: str | Path) -> Path:
        """Write the probabilities, see `write_probabilities`."""
        if self.probabilities is None:
            raise ValueError("probabilities were not computed; call the segmenter with probabilities=True.")
        return write_probabilities(path, self.probabilities, self.source)

    def save_instances(self, path: str | Path) -> Path:
        """Write the map of objects, 16 bits; the ending chooses the format, see `write_label`."""
        if self.instances is None:
            raise ValueError("objects were not told apart; call the segmenter with instances=True.")
        return write_label(path, self.instances.map, self.source, dtype=np.dtype(np.uint16))

    def volumes(self) -> dict[str, dict[str, float | int]]:
        """Per class name: `voxels`, of a picture `pixels`; and `ml`, of a picture `mm2`, where the spacing is known."""
        counts = np.zeros(256, dtype=np.int64)
        for part in self.label:  # part by part, since counting widens what it counts
            counts += np.bincount(part.reshape(-1), minlength=256)
        volume = self.source.kind == "volume"
        unit, one = ("ml", self.source.voxel_ml) if volume else ("mm2", self.source.pixel_mm2)
        return {
            name: {
                "voxels" if volume else "pixels": int(counts[index]),
                **({} if one is None else {unit: round(float(counts[index] * one), 4)}),
            }
            for index, name in self.labels.items()
        }

    def only(self, index: int) -> np.ndarray:
        """The mask of one class, 0 and 1."""
        return (self.label == index).astype(np.uint8)


@dataclass(frozen=True)
class ReadyImage:
    """An image that is read and measured, so that only the network's work is left.

    Args:
        image: as `read_image` gave it.
        limits: stored values that become 0 and 1; None where each slice has its own.
    """

    image: LoadedImage
    limits: tuple[float, float] | None


class Segmenter:
    """Segment images and volumes of any format with a 2D system; no prompts, see the session for those.

    Args:
        network: a system; it is put into evaluation mode.
        labels: name of every class index, 0 (background) may be left out.
        intensity: `Intensity`, or its arguments.
        slices: arguments of `SliceInferer` (axis, orientation, batch_size, neighbours, flips).
        largest_component: keep the largest connected component of each class; True for all, or names of classes.
        label_values: what label maps that are saved hold, by class index; class indices by default.
        limits: the settings', see `measure_limits`; None warns of nothing.
        quality: the settings', see `fit_quality`; None tells of none.
        device: where the network runs; by default where it is.
        precision: what the network computes in: "float32"; "bfloat16"; or "auto", bfloat16 where the device has it.
        compile: "default" or "max-autotune", see `compile_encoders`; None compiles nothing.
        int8: 8-bit weights in the image encoder, see `shrink_encoders`.

    Raises:
        ValueError: labels without a class, names in `largest_component` or values that do not fit them, unknown slices
            or another precision.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: Mapping[int, str],
        *,
        intensity: Intensity | Mapping[str, Any] | None = None,
        slices: Mapping[str, Any] | None = None,
        largest_component: bool | Sequence[str] = False,
        label_values: Mapping[int, int] | None = None,
        limits: Mapping[str, Any] | None = None,
        quality: Mapping[str, Any] | None = None,
        device: torch.device | str | None = None,
        precision: str = "float32",
        compile: str | None = None,
        int8: bool = False,
    ) -> None:
        self.classes = Classes.of(labels, largest_component=largest_component, values=label_values)
        self.labels = dict(self.classes.names)
        self.network = network.eval() if device is None else network.to(device).eval()
        self.intensity = intensity if isinstance(intensity, Intensity) else Intensity(**(intensity or {}))
        self.slices, self.limits, self.quality = dict(slices or {}), limits, quality
        SliceInferer(**self.slices)  # refuses unknown ones
        computed_in(precision, "cpu")
        self.precision = precision
        if int8:
            shrink_encoders(self.network)
        if compile is not None:
            compile_encoders(self.network, compile)

    @torch.no_grad()
    def __call__(
        self,
        source: str | Path | LoadedImage | ReadyImage,
        *,
        probabilities: bool = False,
        quality: bool | None = None,
        instances: bool = False,
        progress: Callable[[int], None] | None = None,
        observe: Callable[[Tensor, Sequence[Tensor]], None] | None = None,
    ) -> SegmentedImage:
        """Segment one image or volume.

        Args:
            source: a path, or what `read_image` or `ready` gave.
            probabilities: give them too, K + 1 times the volume in 32-bit floats; large ones lie in a temporary file.
            quality: tell how good the masks are expected to be; None does where the model is calibrated.
            instances: number every object, see `InstanceWatch`.
            progress: called with the number of slices done.
            observe: is shown the logits of each batch of slices, see `SliceInferer`.

        Raises:
            FileNotFoundError, ImageFileError: as `read_image`; ImageFileError also where the intensity refuses.
            ValueError: more objects than 16 bits count.
        """
        if not isinstance(source, ReadyImage):
            source = self.ready(source if isinstance(source, LoadedImage) else read_image(source))
        image, limits = source.image, source.limits
        inferer = SliceInferer(**self.slices, output="labels", progress=progress)
        meter = QualityMeter() if quality or (quality is None and self.quality is not None) else None
        watch = InstanceWatch(self.network, 1 + len(inferer.flips)) if instances else None
        observers: list[Any] = [one for one in (meter, watch and watch.observe, observe) if one is not None]

        def all_observe(logits: Tensor, parts: Sequence[Tensor]) -> None:
            for one in observers:
                one(logits, parts)

        view = inferer.view(image.array.shape, image.affine) if image.kind == "volume" else None
        tensor = picture_tensor(image) if view is None else torch.from_numpy(image.array)[None]
        network: Any = self.network if watch is None else watch.network
        device = next((one.device for one in self.network.parameters()), torch.device("cpu"))
        shares: list[np.ndarray] = []

        def store(shape: tuple[int, ...]) -> Tensor:
            shares.append(room_for_shares(shape))
            return torch.from_numpy(shares[0])

        with autocast(self.precision, device):
            output = inferer(
                tensor[None],
                network,
                prepare=self._scale_each if limits is None else partial(self.intensity.apply, limits=limits),
                affine=image.affine,
                observe=all_observe if observers else None,
                store=store if probabilities else None,
            )
        label = output[0, 0].cpu().numpy()
        keep_largest_components(label, self.classes.largest)
        self._check_classes(int(label.max(initial=0)))
        result = SegmentedImage(
            image, label, dict(self.labels), shares[0] if shares else None, limits, view, self.classes.values
        )
        if self.limits is not None:
            result.warnings = check_limits(result, self.limits, self.intensity)
            for warning in result.warnings:
                logger.debug("%s: %s", image.path, warning)
        if meter is not None:
            result.sums = meter.sums(label[None] if view is None else view.see(label))
            result.quality = quality_of(result, self.quality)
        if watch is not None:
            result.instances = watch.instances(label, view)
        return result

    def ready(self, image: LoadedImage) -> ReadyImage:
        """All that comes before the network: another thread may do it for the next image.

        Raises:
            ImageFileError: the intensity refuses the image.
        """
        if self.intensity.by_slice and image.kind == "volume":
            return ReadyImage(image, None)
        try:
            return ReadyImage(image, black_and_white(image, self.intensity))
        except ValueError as error:
            raise ImageFileError(image.path, str(error)) from error

    def _scale_each(self, slices: Tensor) -> Tensor:
        """Slices (n, C, H, W), each scaled by its own statistics."""
        scaled = [self.intensity.apply(one, self.intensity.limits(one)) for one in slices.flatten(0, 1)]
        return torch.stack(scaled).reshape(slices.shape)

    def _check_classes(self, highest: int) -> None:
        if highest > max(self.labels):
            raise ValueError(f"the network predicts class {highest}, labels name {sorted(self.labels)}; name them all.")
