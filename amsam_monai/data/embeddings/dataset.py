"""A data set whose samples bring the embedding of their image with them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Randomizable, apply_transform
from torch import Tensor

from amsam_monai import keys
from amsam_monai.data.embeddings.cache import EmbeddingCache, Encode

Sample = dict[str, Any]
EMBEDDING_BYTES = 2**21  # about what an embedding takes: 256 x 64 x 64 in float16


class FixedViews:
    """Random transforms made a function of the image and the view's number, so that embeddings of views can be kept.

    Args:
        transform: MONAI's random transforms of a sample.
        seed: another seed gives other views.

    Raises:
        TypeError: the transform has no `set_random_state`.
    """

    def __init__(self, transform: Callable[[Any], Any], *, seed: int = 0) -> None:
        if not hasattr(transform, "set_random_state"):
            raise TypeError(f"transform must be a MONAI random transform or Compose, got {type(transform).__name__}.")
        self.transform = transform
        self.seed = seed

    def __call__(self, sample: Sample, view: int) -> Sample:
        """View number `view` of the sample."""
        image = torch.as_tensor(sample[keys.IMAGE]).contiguous().numpy()
        words = np.random.SeedSequence([self.seed, view, zlib.crc32(image.tobytes())]).generate_state(1)
        self.transform.set_random_state(seed=int(words[0]))  # type: ignore[attr-defined]
        return self.transform(sample)


class CachedEmbeddingDataset(Randomizable, Dataset):
    """Samples with the key "embedding", from the cache; missing ones are computed in batches at construction.

    The path of a sample: data -> `transform` -> one of `views` fixed views -> embedding -> `post_transform`.
    The first samples stay in memory with their embeddings, so that few-shot training decodes no image twice.

    Args:
        data: samples, or a data set of them.
        transform: deterministic; gives "image" (3, H, W) as the encoder takes it.
        cache: where embeddings are kept; None gives the views alone, for encoders that train.
        encode: a batch of images to a batch of embeddings, say `network.encode`.
        augment: (sample, view number) to the view, deterministic (see `FixedViews`); view 0 is the sample as it is.
        views: how many views an image has; one is drawn at each access.
        post_transform: may be random, must leave the image alone (prompts simulated from the label, jittered boxes).
        keep: MiB of samples to keep in memory, the first that come.
        batch_size: images at once, where embeddings are computed.
        device: where `encode` computes.
        fill: compute missing embeddings now; False computes at first access.
        progress: show a progress bar.
        share: (rank, number of processes), which share the computing; None asks torch.distributed.

    Raises:
        ValueError: fewer than one view, several without `augment`, or, at access, a `post_transform` changed the image.
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Callable[[Any], Any] | None = None,
        *,
        cache: EmbeddingCache | None,
        encode: Encode,
        augment: Callable[[Any, int], Any] | None = None,
        views: int = 1,
        post_transform: Callable[[Any], Any] | None = None,
        keep: float = 512,
        batch_size: int = 4,
        device: torch.device | str = "cpu",
        fill: bool = True,
        progress: bool = True,
        share: tuple[int, int] | None = None,
    ) -> None:
        if views < 1 or (views > 1 and augment is None):
            raise ValueError(f"views must be 1, or more with augment given, got {views}.")
        super().__init__(data, transform)
        self.cache, self.encode, self.device = cache, encode, device
        self.augment, self.views, self.post_transform = augment, views, post_transform
        self._room = keep * 2**20  # bytes
        self._kept: dict[tuple[int, int], Sample] = {}
        if fill and cache is not None:
            images = _Images(self)
            share = share or (idist.get_rank(), idist.get_world_size())
            start = len(images) * share[0] // share[1]
            shown = progress and share[0] == 0
            cache.fill(images, encode, batch_size=batch_size, device=device, progress=shown, start=start)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> CachedEmbeddingDataset:
        """Seed the choice of the view and the random transforms after it."""
        super().set_random_state(seed, state)
        later: Any = self.post_transform
        if hasattr(later, "set_random_state"):
            later.set_random_state(seed=int(self.R.randint(2**31)))
        return self

    def view(self, index: int, view: int) -> Sample:
        """Sample `index` seen as `view`, before the embedding."""
        sample = self.data[index]
        if self.transform is not None:
            sample = apply_transform(self.transform, sample)
        if not isinstance(sample, Mapping) or keys.IMAGE not in sample:
            raise ValueError(f"transform must give a sample with the key 'image', got {type(sample).__name__}.")
        return dict(self.augment(dict(sample), view) if self.augment is not None and view else sample)

    def _transform(self, index: int) -> Sample:
        view = int(self.R.randint(self.views)) if self.views > 1 else 0
        sample = self._embedded(index % len(self.data), view)
        if self.post_transform is None:
            return sample
        changed: Any = apply_transform(self.post_transform, dict(sample))
        if changed[keys.IMAGE] is not sample[keys.IMAGE]:
            raise ValueError("post_transform must leave the image alone, whose embedding is kept; use transform.")
        return changed

    def _embedded(self, index: int, view: int) -> Sample:
        sample = self._kept_view(index, view)
        if self.cache is None:
            return dict(sample)
        embedding = sample.get(keys.EMBEDDING)
        if embedding is None:
            embedding = self.cache.get_or_compute(sample[keys.IMAGE], self.encode, device=self.device)
            if self.cache.enabled and (index, view) in self._kept:
                sample[keys.EMBEDDING] = embedding
        return {**sample, keys.EMBEDDING: embedding}

    def _kept_view(self, index: int, view: int) -> Sample:
        sample = self._kept.get((index, view))
        if sample is None:
            sample = self.view(index, view)
            size = _size(sample) + EMBEDDING_BYTES
            if size <= self._room:
                self._kept[index, view] = sample
                self._room -= size
        return sample


def _size(sample: Sample) -> int:
    """Bytes of the sample's arrays."""
    tensors = (torch.as_tensor(part) for part in sample.values() if isinstance(part, (Tensor, np.ndarray)))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Images(Sequence[Tensor]):
    """The images of all views, one after the other."""

    def __init__(self, dataset: CachedEmbeddingDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset.data) * self.dataset.views

    def __getitem__(self, number: Any) -> Any:
        return self.dataset._kept_view(*divmod(number, self.dataset.views))[keys.IMAGE]
