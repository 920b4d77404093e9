"""Embeddings in memory: the least recently used go first, and never more than a given size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

DEFAULT_BYTES = 512 * 2**20


class EmbeddingLRU:
    """A bounded store of embeddings that several sessions and threads share.

    Two callers that ask for the same key at once compute it once.

    Args:
        max_bytes: most that is kept; one embedding is kept even if it is larger.

    Raises:
        ValueError: a size that is not positive.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        if max_bytes <= 0:
            raise ValueError(f"max_bytes must be positive, got {max_bytes}.")
        self.max_bytes = max_bytes
        self.bytes = 0
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """The embedding of `key`, computed where it is not there."""
        if (found := self.peek(key)) is not None:
            return found
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            found = self.peek(key)
            if found is None:
                found = compute()
                self._put(key, found)
        with self._lock:
            self._making.pop(key, None)
        return found

    def peek(self, key: Hashable) -> Tensor | None:
        """The embedding of `key`, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _put(self, key: Hashable, embedding: Tensor) -> None:
        with self._lock:
            self._kept[key] = embedding
            self.bytes += size_of(embedding)
            while self.bytes > self.max_bytes and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self.bytes -= size_of(oldest)

    def forget(self, belongs: Callable[[Hashable], bool] = lambda key: True) -> int:
        """Release the embeddings whose key `belongs`, by default all; gives their number."""
        with self._lock:
            keys = [key for key in self._kept if belongs(key)]
            for key in keys:
                self.bytes -= size_of(self._kept.pop(key))
        return len(keys)

    def __len__(self) -> int:
        return len(self._kept)


def size_of(embedding: Tensor) -> int:
    """Bytes of a tensor."""
    return embedding.numel() * embedding.element_size()
