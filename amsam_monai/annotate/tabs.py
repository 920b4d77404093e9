"""The workbenches of open browser tabs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from amsam_monai.annotate.workbench import Workbench
from amsam_monai.bundles.load import LoadedBundle
from amsam_monai.segment.embeddings_lru import EmbeddingLRU
from amsam_monai.session.session import InteractiveSession

MAX_TABS = 8
SIDE = 720  # pixels of a view's side, as it is drawn


class Tabs:
    """The workbenches of open browser tabs, by Gradio's session; the least recently used are dropped.

    Args:
        bundle: the network, shared by all tabs.
        files: images to step through.
        out: where label maps go.
    """

    def __init__(self, bundle: LoadedBundle, files: Sequence[Path], out: Path) -> None:
        self.bundle, self.files, self.out = bundle, list(files), out
        self._benches: OrderedDict[str, Workbench] = OrderedDict()
        self._lock, self._network_lock = threading.Lock(), threading.Lock()
        self._cache = EmbeddingLRU()

    def may_open(self, path: str | Path) -> bool:
        """Whether a browser may have a file opened: one of the cases, or one that it sent itself."""
        from gradio.utils import get_upload_folder

        path = Path(path)
        return path in self.files or Path(get_upload_folder()).resolve() in path.resolve().parents

    def bench(self, tab: str | None) -> Workbench:
        """A tab's workbench."""
        key = tab or ""
        with self._lock:
            if key not in self._benches:
                session = InteractiveSession.of_bundle(self.bundle, cache=self._cache, lock=self._network_lock)
                self._benches[key] = Workbench(session, self.files, self.out, side=SIDE)
            self._benches.move_to_end(key)
            while len(self._benches) > MAX_TABS:
                self._benches.popitem(last=False)
            return self._benches[key]
