"""A 2D network on volumes: slices out, batches through the network, masks back where they came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor

from amsam_monai.data.slices import SliceView
from amsam_monai.segment.batch_size import BatchSize
from amsam_monai.segment.blank import background_where, blank
from amsam_monai.segment.flips import flip_prompts, flip_sets, mean_logits
from amsam_monai.segment.sending import sent

OUTPUTS = ("logits", "probabilities", "labels")

Prepare = Callable[[Tensor], Tensor]
PerSlice = Callable[[Sequence[int]], Mapping[str, Any]]
Observe = Callable[[Tensor, Sequence[Tensor]], None]
Store = Callable[[tuple[int, ...]], Tensor]


class SliceInferer(Inferer):
    """Run a 2D system over volumes slice by slice, and over images as they are.

    Slices are turned as a radiologist reads them, by the volume's affine, so that a prediction does not depend on how
    the volume is stored. One batch of slices is on the device at a time, and with `output="labels"` memory does not
    grow with the number of slices but for the input and the output. A slice that is blank, one value everywhere as the
    network would see it, is background.

    Args:
        axis: slices follow this stored axis, plane, or the thickest spacing, see `SliceView.of`.
        orientation: "radiological" or "stored", see `SliceView.of`.
        batch_size: slices per call of the network; None is 4, or on a GPU as many as its free memory holds. Half as
            many are tried where memory runs out.
        neighbours: 0 repeats a grey slice in three channels; n > 0 gives the slices n before to n after as channels,
            the first and last repeated at the ends (2.5D; a SAM takes n = 1).
        flips: "horizontal", "vertical": average the probabilities of the image and of its flips.
        output: "logits" or "probabilities" with all channels, or "labels", class indices as uint8.
        device: where the network runs; by default where its parameters, or else the inputs, are.
        progress: called with the number of slices done after every batch.

    Raises:
        ValueError: unknown axis, orientation, output or flip, or a batch size or number of neighbours that is no count.
    """

    def __init__(
        self,
        axis: int | str = "thickest",
        orientation: str = "radiological",
        *,
        batch_size: int | None = None,
        neighbours: int = 0,
        flips: Sequence[str] = (),
        output: str = "logits",
        device: torch.device | str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {OUTPUTS}, got {output!r}.")
        if (batch_size is not None and batch_size < 1) or neighbours < 0:
            raise ValueError(f"batch_size must be >= 1 and neighbours >= 0, got {batch_size} and {neighbours}.")
        SliceView.of((1, 1, 1), np.eye(4), axis=axis, orientation=orientation)  # refuses unknown ones
        self.axis, self.orientation = axis, orientation
        self.batch_size, self.neighbours, self.output = batch_size, neighbours, output
        self.flips = flip_sets(flips)[1:]
        self.device, self.progress = device, progress

    def view(self, shape: Sequence[int], affine: np.ndarray | None) -> SliceView:
        """The slices that this inferer takes from a volume of that shape and affine."""
        return SliceView.of(shape, affine, axis=self.axis, orientation=self.orientation)

    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Tensor],
        *args: Any,
        prepare: Prepare | None = None,
        per_slice: PerSlice | None = None,
        affine: np.ndarray | None = None,
        observe: Observe | None = None,
        store: Store | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Predict.

        Args:
            inputs: images or volumes; a MetaTensor's own affine says how a volume lies.
            network: a system; logits (B, K+1, H, W) from images (B, 3, H, W) in [0, 1].
            args: further arguments of the network.
            prepare: makes raw slices (n, C, H, W) float32 in [0, 1], batch by batch, so that no scaled copy of a
                volume is needed.
            per_slice: gives the network's keyword arguments (prompts, embedding) for the slices of a batch; it gets
                their numbers as the view counts them, and is called with one volume only.
            affine: voxel index to RAS, for plain tensors.
            observe: is shown the logits (n, K+1, H, W) of each batch of slices, in the view's order, and those of the
                image and of each of its flips, turned back.
            store: gives a tensor (K+1, H, W) or (K+1, I, J, K) of that shape for each image or volume, to which the
                probabilities are written batch by batch, beside what is given.
            kwargs: further keyword arguments of the network.

        Shape: (B, C, H, W) -> (B, K+1, H, W), (B, C, I, J, K) -> (B, K+1, I, J, K); one channel for "labels".

        Raises:
            ValueError: not an image or volume batch, or prompts for several volumes at once.
        """
        if inputs.ndim not in (4, 5):
            raise ValueError(f"inputs must be (B, C, H, W) or (B, C, I, J, K), got {tuple(inputs.shape)}.")

        around = self.neighbours if inputs.ndim == 5 else 0

        def predict(images: Tensor, extra: Mapping[str, Any]) -> Tensor:
            images = prepare(images.to(torch.float32)) if prepare else images.to(torch.float32)
            own = self._channels(images.unflatten(1, (2 * around + 1, -1))[:, around])  # without its neighbours
            parts = self._parts(self._channels(images), network, args, {**kwargs, **extra})
            logits = background_where(blank(own), mean_logits(parts))
            if observe is not None:
                observe(logits, [background_where(blank(own), part) for part in parts] if len(parts) > 1 else [logits])
            return logits

        if inputs.ndim == 4:
            images = as_plain(inputs).to(self._device(network, inputs))
            logits = predict(images, per_slice([0]) if per_slice else {})
            if store is not None:
                for one in logits:
                    store(tuple(one.shape)).copy_(one.softmax(dim=0))
            return like(self._output(logits).to(inputs.device), inputs)
        if per_slice is not None and inputs.shape[0] > 1:
            raise ValueError(f"per_slice must go with one volume, got a batch of {inputs.shape[0]}; call one by one.")
        affines = affines_of(inputs, affine)
        device = self._device(network, inputs)
        outputs = [
            self._volume(volume, self.view(volume.shape[1:], one), predict, per_slice, store, device)
            for volume, one in zip(as_plain(inputs), affines, strict=True)
        ]
        stacked = outputs[0][None] if len(outputs) == 1 else torch.stack(outputs)
        return like(stacked, inputs)

    def _volume(
        self,
        volume: Tensor,
        view: SliceView,
        predict: Callable[[Tensor, Mapping[str, Any]], Tensor],
        per_slice: PerSlice | None,
        store: Store | None,
        device: torch.device,
    ) -> Tensor:
        """One volume (C, I, J, K) -> (K+1 or 1, I, J, K), where the volume is."""
        output: Tensor | None = None
        shares: Tensor | None = None
        waiting: list[tuple[Tensor, Callable[[], Tensor], int]] = []  # of the last batch, while a GPU has the next

        def settle() -> None:
            for target, arrived, start in waiting:
                view.put(target, arrived().transpose(0, 1), start)
            waiting.clear()

        def run(start: int, stop: int) -> None:
            nonlocal output, shares
            slab = self._slab(volume, view, start, stop, device)  # (n, C', H, W)
            logits = predict(slab, per_slice(range(start, stop)) if per_slice else {})
            given = self._output(logits)
            if output is None:
                output = torch.zeros((given.shape[1], *view.shape), dtype=given.dtype, device=volume.device)
                shares = store((logits.shape[1], *view.shape)) if store is not None else None
            coming = [(output, sent(given, volume.device), start)]
            if shares is not None:
                coming.append((shares, sent(logits.softmax(dim=1), shares.device), start))
            settle()
            waiting.extend(coming)

        for done in BatchSize(self.batch_size, device).batches(view.depth, run):
            if self.progress is not None:
                self.progress(done)
        settle()
        assert output is not None  # a view has at least one slice
        return output

    def _slab(self, volume: Tensor, view: SliceView, start: int, stop: int, device: torch.device) -> Tensor:
        """Slices `start` to `stop` - 1 with their neighbours as channels. Shape (n, C (2 neighbours + 1), H, W)."""
        around = self.neighbours
        first, last = max(start - around, 0), min(stop + around, view.depth)
        slices = sent(view.take(volume, first, last).transpose(0, 1), device)()  # (n', C, H, W)
        if not around:
            return slices
        wanted = [
            [min(max(number + step, 0), view.depth - 1) - first for step in range(-around, around + 1)]
            for number in range(start, stop)
        ]
        return slices[torch.tensor(wanted, device=device)].flatten(1, 2)

    def _channels(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]  # a fourth is transparency

    def _output(self, logits: Tensor) -> Tensor:
        if self.output == "labels":
            return logits.max(dim=1, keepdim=True).indices.to(torch.uint8)  # ten times as fast as argmax
        return logits.softmax(dim=1) if self.output == "probabilities" else logits

    def _parts(
        self, images: Tensor, network: Callable[..., Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> list[Tensor]:
        """Logits of the image and of each of its flips, turned back.

        Prompts are turned along; an embedding is that of the image as it is, and its flips are encoded.
        """
        parts = [network(images, *args, **kwargs).float()]
        others = {name: value for name, value in kwargs.items() if name != "embedding"}
        prompts = others.pop("prompts", None)
        for dims in self.flips:
            turned = {} if prompts is None else {"prompts": flip_prompts(prompts, images.shape[-2:], dims)}
            parts.append(network(images.flip(dims), *args, **others, **turned).float().flip(dims))
        return parts

    def _device(self, network: Callable[..., Tensor], inputs: Tensor) -> torch.device:
        if self.device is not None:
            return torch.device(self.device)
        parameters = getattr(network, "parameters", None)
        first = next(iter(parameters()), None) if callable(parameters) else None
        return inputs.device if first is None else first.device


def affines_of(inputs: Tensor, affine: np.ndarray | None) -> list[np.ndarray | None]:
    """One affine per volume of a batch: the one given, else the batch's own, else None."""
    if affine is not None or not isinstance(inputs, MetaTensor):
        return [affine] * inputs.shape[0]
    own = inputs.affine.detach().cpu().numpy()
    return list(own) if own.ndim == 3 else [own] * inputs.shape[0]


def as_plain(tensor: Tensor) -> Tensor:
    """The tensor without MONAI's meta data, so that slicing costs nothing more."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def like(output: Tensor, inputs: Tensor) -> Tensor:
    """The output with the meta data of the inputs, as inverting and saving a prediction need."""
    if not isinstance(inputs, MetaTensor):
        return output
    result = MetaTensor(output).copy_meta_from(inputs)
    result.is_batch = inputs.is_batch
    return result
