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
    """The workbenches of open browser tabs, by Gradio's session; those without unsaved work may be dropped.

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
        self._names: dict[str, Path] = {}  # shared by all tabs: no two images have one label map

    def may_open(self, path: str | Path) -> bool:
        """Whether a browser may have a file opened: one of the cases, or one that it sent itself."""
        from gradio.utils import get_upload_folder

        path = Path(path)
        return path in self.files or Path(get_upload_folder()).resolve() in path.resolve().parents

    def bench(self, tab: str | None) -> Workbench:
        """A tab's workbench; a new one takes the place of the least recently used without unsaved work.

        Raises:
            ValueError: there are as many as there may be, all with unsaved work.
        """
        key = tab or ""
        with self._lock:
            if key not in self._benches:
                self._make_room()
                session = InteractiveSession.of_bundle(self.bundle, cache=self._cache, lock=self._network_lock)
                self._benches[key] = Workbench(session, self.files, self.out, side=SIDE)
                self._benches[key].names = self._names
            self._benches.move_to_end(key)
            return self._benches[key]

    def close(self, tab: str | None) -> None:
        """Drop a tab's workbench, since the tab was closed."""
        with self._lock:
            self._benches.pop(tab or "", None)

    def _make_room(self) -> None:
        if len(self._benches) < MAX_TABS:
            return
        spare = next((key for key, bench in self._benches.items() if not bench.unsaved), None)
        if spare is None:
            raise ValueError(f"{MAX_TABS} tabs have unsaved work; save or close one, then load this again.")
        del self._benches[spare]
