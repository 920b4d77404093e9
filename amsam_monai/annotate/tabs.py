"""The workbenches of open browser tabs."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from amsam_monai.annotate.browser_files import browser_files
from amsam_monai.annotate.workbench import Workbench
from amsam_monai.bundles.load import LoadedBundle
from amsam_monai.segment.embeddings_lru import EmbeddingLRU
from amsam_monai.session.session import InteractiveSession

logger = logging.getLogger(__name__)

MAX_TABS = 8
SIDE = 720  # pixels of a view's side, as it is drawn


@dataclass
class _Tab:
    bench: Workbench
    at_work: int = 0  # actions that run, or wait for the one that runs
    closed: bool = False


class Tabs:
    """The workbenches of open browser tabs, by Gradio's session; those without unsaved work may be dropped.

    Args:
        bundle: the network, shared by all tabs.
        files: images to step through.
        out: where label maps go.
    """

    def __init__(self, bundle: LoadedBundle, files: Sequence[Path], out: Path) -> None:
        self.bundle, self.files, self.out = bundle, list(files), out
        self._tabs: OrderedDict[str, _Tab] = OrderedDict()
        self._lock, self._network_lock = threading.Lock(), threading.Lock()
        self._cache = EmbeddingLRU()
        self._names: dict[str, Path] = {}  # shared by all tabs: no two images have one label map

    def __len__(self) -> int:
        """How many there are."""
        return len(self._tabs)

    def may_open(self, path: str | Path) -> bool:
        """Whether a browser may have a file opened: one of the cases, or one that it sent itself."""
        return Path(path) in self.files or is_sent(path)

    def bench(self, tab: str | None) -> Workbench:
        """A tab's workbench; a new one takes the place of the least recently used without unsaved work.

        Raises:
            ValueError: there are as many as there may be, all with unsaved work or at work.
        """
        with self._lock:
            return self._tab(tab).bench

    @contextmanager
    def working(self, tab: str | None, *, alone: bool = True) -> Iterator[Workbench]:
        """A tab's workbench, which stays while the block runs, and is this thread's alone unless told otherwise.

        Raises:
            ValueError: as `bench`.
        """
        with self._lock:
            found = self._tab(tab)
            found.at_work += 1
        try:
            with found.bench.lock if alone else nullcontext():
                yield found.bench
        finally:
            with self._lock:
                found.at_work -= 1

    def close(self, tab: str | None) -> None:
        """A tab was closed, or its connection was lost: what was not saved is kept in a file.

        It finds its work again if it comes back before its place is needed.
        """
        with self._lock:
            found = self._tabs.get(tab or "")
            if found is None:
                return
            found.closed = True
        with self.working(tab) as bench:
            found.closed = True
            try:
                bench.keep_unsaved()
            except (ValueError, OSError) as error:
                logger.error("work of a closed tab could not be kept: %s", error)

    def keep_unsaved(self) -> list[Path]:
        """Keep what no tab has saved, since the server ends; gives the label maps."""
        kept = []
        for tab in list(self._tabs.values()):
            with tab.bench.lock:
                try:
                    kept.append(tab.bench.keep_unsaved())
                except (ValueError, OSError) as error:
                    logger.error("work could not be kept: %s", error)
        return [path for path in kept if path is not None]

    def forget(self, path: str | Path) -> None:
        """Remove a file that a browser sent, unless a tab has it open."""
        path = Path(path)
        if is_sent(path) and not any(path in tab.bench.files for tab in list(self._tabs.values())):
            path.unlink(missing_ok=True)

    def _tab(self, tab: str | None) -> _Tab:
        key = tab or ""
        if key not in self._tabs:
            self._make_room()
            session = InteractiveSession.of_bundle(self.bundle, cache=self._cache, lock=self._network_lock)
            bench = Workbench(session, self.files, self.out, side=SIDE)
            bench.names = self._names
            self._tabs[key] = _Tab(bench)
        self._tabs.move_to_end(key)
        self._tabs[key].closed = False
        return self._tabs[key]

    def _make_room(self) -> None:
        if len(self._tabs) < MAX_TABS:
            return
        idle = [(key, tab) for key, tab in self._tabs.items() if not tab.at_work]
        spare = [(key, tab) for key, tab in idle if not tab.bench.unsaved]
        if not spare:
            raise ValueError(f"{MAX_TABS} tabs have unsaved work; save or close one, then load this again.")
        key, tab = next(((key, tab) for key, tab in spare if tab.closed), spare[0])
        del self._tabs[key]
        if tab.closed:
            for path in tab.bench.files:
                self.forget(path)


def is_sent(path: str | Path) -> bool:
    """Whether a file is one that a browser sent."""
    return browser_files().resolve() in Path(path).resolve().parents
