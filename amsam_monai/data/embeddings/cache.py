"""Embeddings of frozen image encoders, computed once and kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from amsam_monai import keys
from amsam_monai.data.embeddings.folder import DESCRIPTION, cache_folder, entries
from amsam_monai.data.files.atomic import room_for, whole_file

logger = logging.getLogger(__name__)

DTYPES = {"float16": torch.float16, "float32": torch.float32}

Encode = Callable[[Tensor], Tensor]


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Digest of weights, names and all, whatever device they are on."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(_bytes(state[name]))
    return digest.hexdigest()


def _plain(tensor: Any) -> Tensor:
    """The tensor on the CPU without MONAI's meta information."""
    tensor = tensor.as_tensor() if hasattr(tensor, "as_tensor") else torch.as_tensor(tensor)
    return tensor.detach().cpu().contiguous()


def _bytes(tensor: Any) -> bytes:
    tensor = _plain(tensor)
    header = f"{tensor.dtype} {tuple(tensor.shape)};".encode()
    return header + tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


class EmbeddingCache:
    """Embeddings addressed by what they depend on: the image's bytes, and the encoder's fingerprint.

    Each entry is a file of its own, written whole or not at all, so that several processes may share a folder; a
    damaged entry counts as missing. What `get_or_compute` gives is rounded to `dtype` whether it was read, computed, or
    the cache is switched off: all three are the same numbers.

    Args:
        folder: see `cache_folder`.
        fingerprint: all else that embeddings depend on, plain values by name: digest of the weights, image size,
            resize mode, normalisation.
        dtype: "float16" (half the space and time) or "float32".
        enabled: False computes every time and touches no file.

    Raises:
        ValueError: unknown dtype; at the computation, values that float16 cannot hold.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        fingerprint: Mapping[str, str | int | float | bool],
        dtype: str = "float16",
        enabled: bool = True,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
        self.dtype = DTYPES[dtype]
        self.enabled = enabled
        self.fingerprint = {**fingerprint, "dtype": dtype}
        text = json.dumps(self.fingerprint, sort_keys=True)
        self.folder = cache_folder(folder) / hashlib.sha256(text.encode()).hexdigest()[:16]

    def key(self, image: Tensor) -> str:
        """Digest of the image's shape, type and values."""
        return hashlib.sha256(_bytes(image)).hexdigest()

    def path(self, key: str) -> Path:
        """Where the entry of `key` lies."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, key: str) -> Tensor | None:
        """The embedding (256, g, g) of `key`; None where there is none, or a damaged one."""
        path = self.path(key)
        if not self.enabled or not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as entry:
                embedding = entry.get_tensor(keys.EMBEDDING)
                intact = (entry.metadata() or {}).get("crc32") == str(zlib.crc32(_bytes(embedding)))
        except (SafetensorError, OSError, RuntimeError):  # the last where the file goes away before it is opened
            intact = False
        if not intact:
            if path.is_file():  # and not cleared by another process
                logger.warning("the cached embedding %s is damaged and will be computed again", path)
            return None
        return embedding

    def write(self, key: str, embedding: Tensor) -> None:
        """Keep `embedding` under `key`.

        Raises:
            OSError: the folder cannot be written to any more, or there is no room left; then clear the cache with
                `amsam cache clear`, or choose another folder.
        """
        if not self.enabled:
            return
        path = self.path(key)
        content = safetensors.torch.save({keys.EMBEDDING: embedding}, {"crc32": str(zlib.crc32(_bytes(embedding)))})
        with room_for(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._describe()
            descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)  # threads write side by side
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                os.replace(partial, path)
            finally:
                with contextlib.suppress(OSError):
                    Path(partial).unlink(missing_ok=True)

    def get_or_compute(self, image: Tensor, encode: Encode, *, device: torch.device | str = "cpu") -> Tensor:
        """The embedding of one image, on the CPU.

        Args:
            image: as the encoder takes it, without a batch dimension.
            encode: a batch of images to a batch of embeddings.
            device: where `encode` computes.

        Shape: image (3, H, W) -> (256, g, g).
        """
        key = self.key(image)
        embedding = self.read(key)
        if embedding is None:
            embedding = self._encode([image], encode, device)[0]
            self.write(key, embedding)
        return embedding

    def fill(
        self,
        dataset: Sequence[Any],
        encode: Encode,
        *,
        batch_size: int = 4,
        device: torch.device | str = "cpu",
        progress: bool = True,
        start: int = 0,
    ) -> int:
        """Compute what is missing, images of one size together; the number computed.

        Args:
            dataset: images (3, H, W), or samples with the key "image".
            encode: a batch of images to a batch of embeddings.
            batch_size: images at once.
            device: where `encode` computes.
            progress: show a progress bar.
            start: begin at this item; processes that begin apart share the work.
        """
        if not self.enabled:
            return 0
        waiting: dict[tuple[int, ...], dict[str, Tensor]] = {}
        computed = 0
        order = [(start + step) % len(dataset) for step in range(len(dataset))]
        for index in tqdm(order, desc="embeddings", unit="image", disable=not progress or not order, leave=False):
            item = dataset[index]
            image = item[keys.IMAGE] if isinstance(item, Mapping) else item
            key = self.key(image)
            if self.read(key) is not None:
                continue
            batch = waiting.setdefault(tuple(image.shape), {})
            batch[key] = image
            if len(batch) == batch_size:
                computed += self._compute(waiting.pop(tuple(image.shape)), encode, device)
        computed += sum(self._compute(batch, encode, device) for batch in waiting.values())
        if computed:
            logger.info("computed %d embeddings; %s holds %.1f MiB", computed, self.folder, self.size() / 2**20)
        return computed

    def size(self) -> int:
        """Bytes on disk of this encoder's embeddings."""
        return sum(status.st_size for _, status in entries(self.folder))

    def _compute(self, batch: dict[str, Tensor], encode: Encode, device: torch.device | str) -> int:
        for key, embedding in zip(batch, self._encode(list(batch.values()), encode, device), strict=True):
            self.write(key, embedding)
        return len(batch)

    @torch.no_grad()
    def _encode(self, images: list[Tensor], encode: Encode, device: torch.device | str) -> Tensor:
        batch = torch.stack([_plain(image) for image in images])
        embedding = encode(batch.to(device)).to("cpu", self.dtype)
        if not embedding.isfinite().all():
            raise ValueError(f"embeddings must be finite in {self.dtype}, got inf or NaN; use dtype='float32'.")
        return embedding.contiguous()

    def _describe(self) -> None:
        path = self.folder / DESCRIPTION
        if not path.is_file():
            with whole_file(path) as partial:
                partial.write_text(json.dumps(self.fingerprint, indent=2, sort_keys=True) + "\n", encoding="utf-8")
