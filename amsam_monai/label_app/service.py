"""A bundle in a server's memory: one network, its embeddings, and a session for each client and image."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.bundles.load import LoadedBundle, load_bundle
from amsam_monai.label_app.requests import PromptRequest, parse_prompts
from amsam_monai.segment.embeddings_lru import EmbeddingLRU
from amsam_monai.session.image import key_of
from amsam_monai.session.session import InteractiveSession

logger = logging.getLogger(__name__)

MAX_SESSIONS = 8


@dataclass
class Answer:
    """A label map for a client, and what goes beside it.

    Args:
        label: values of classes as the bundle writes them, or 0 and 1 for one class.
        names: names by these values.
        params: label names, points, boxes and the quality of each, quality, expected Dice, presence and seconds, ready
            for JSON; of an automatic segmentation also warnings.
        session: the session it comes from.

    Shape: label is the stored image's.
    """

    label: np.ndarray
    names: dict[int, str]
    params: dict[str, Any]
    session: InteractiveSession


@dataclass
class _Entry:
    session: InteractiveSession
    lock: threading.RLock = field(default_factory=threading.RLock)


class BundleService:
    """Serves one bundle to many clients; new weights in its folder are picked up by the next request.

    Args:
        root: the bundle's folder.
        max_bytes: most memory for embeddings.
        max_sessions: most images that are open at once; the least recently used are closed.
        device: where the network runs; by default as the bundle says.
        flips: average over mirror images where the bundle does, which makes a click two to four decodings.
    """

    def __init__(
        self,
        root: Path,
        *,
        max_bytes: int = 512 * 2**20,
        max_sessions: int = MAX_SESSIONS,
        device: str | None = None,
        flips: bool = True,
    ) -> None:
        self.root, self.device, self.max_sessions, self.flips = Path(root), device, max_sessions, flips
        self.cache = EmbeddingLRU(max_bytes)
        self._network_lock = threading.Lock()
        self._lock = threading.RLock()
        self._sessions: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._bundle: LoadedBundle | None = None
        self._version = (0, 0)

    @property
    def weights(self) -> Path:
        """The file that training replaces."""
        return self.root / "models" / "model.pt"

    @property
    def version(self) -> tuple[int, int]:
        """What changes whenever the weights are written anew, whatever the clock says; zeros where there are none."""
        if not self.weights.is_file():
            return 0, 0
        status = self.weights.stat()
        return status.st_ino, status.st_mtime_ns

    def bundle(self) -> LoadedBundle:
        """The bundle, loaded on first use and again after its weights changed."""
        with self._lock:
            if self._bundle is None or self._version != self.version:
                self.unload()
                self._version = self.version
                self._bundle = load_bundle(self.root, device=self.device)
                logger.info("%s loaded", self.root.name)
            return self._bundle

    def unload(self) -> None:
        """Release network, sessions and embeddings."""
        with self._lock:
            self._sessions.clear()
            self.cache.forget()
            self._bundle = None

    def new_session(self, *, flips: bool = True) -> InteractiveSession:
        """A session of the bundle that shares network and embeddings; without `flips` it takes images as they are."""
        bundle = self.bundle()
        slices = bundle.slices if flips and self.flips else {**bundle.slices, "flips": ()}
        return InteractiveSession.of_bundle(bundle, slices=slices, cache=self.cache, lock=self._network_lock)

    @contextmanager
    def session(self, client: str, path: str | Path, *, fresh: bool = False) -> Iterator[InteractiveSession]:
        """The session of a client on an image, for this thread alone while the block runs.

        Raises:
            FileNotFoundError, ImageFileError: as `read_image`.
        """
        with self._lock:
            self.bundle()
            source_key = (client, str(Path(path).resolve()))
            entry = self._sessions.get(source_key)
            if entry is None:
                entry = self._sessions[source_key] = _Entry(self.new_session())
            self._sessions.move_to_end(source_key)
            while len(self._sessions) > self.max_sessions:
                self._sessions.popitem(last=False)
        with entry.lock:
            try:
                if not entry.session.is_open or key_of(entry.session.image.source) != entry.session.image.key:
                    entry.session.open(path)
                elif fresh:
                    entry.session.open(entry.session.image.source)
            except Exception:
                with self._lock:
                    self._sessions.pop(source_key, None)
                raise
            yield entry.session

    def close(self, client: str, path: str | Path) -> None:
        """Drop a client's session on an image."""
        with self._lock:
            self._sessions.pop((client, str(Path(path).resolve())), None)

    def segment(self, client: str, path: str | Path) -> Answer:
        """Automatic segmentation; the client's clicks on this image are forgotten."""
        start = time.perf_counter()
        with self.session(client, path, fresh=True) as session:
            session.segment("all")
            answer = answer_of(session, None, start)
            answer.params["warnings"] = session.warnings
            return answer

    def click(self, client: str, path: str | Path, request: Mapping[str, Any]) -> Answer:
        """Segmentation with a client's points and boxes.

        Raises:
            ValueError: the prompts do not fit image or classes; the session is as it was.
        """
        start = time.perf_counter()
        with self.session(client, path) as session:
            prompts = parse_prompts(request, list(session.labels.values()), session.image.voxel_shape)
            if prompts.slice is not None:
                session.image.check_slice(prompts.slice)
            for boxes in prompts.object_boxes.values():
                session.check_boxes(boxes)
            changed = apply_prompts(session, prompts)
            return answer_of(session, prompts.label, start, changed)


def answer_of(session: InteractiveSession, label: str | None, start: float, changed: list[int] | None = None) -> Answer:
    """The answer to a request that began at `start`: about one class, or about all that are there."""
    if label is not None:
        mask = (session.label == session.label_index(label)).astype(np.uint8)
        names, there = {1: label}, {label: 1}
    else:
        mask, names = session.classes.written(session.label).copy(), session.classes.written_names
        there = {name: value for value, name in names.items() if (mask == value).any()}
    return Answer(mask, names, describe(session, there, time.perf_counter() - start, changed), session)


def apply_prompts(session: InteractiveSession, prompts: PromptRequest) -> list[int]:
    """Bring a client's prompts into its session and segment the slices that changed; gives them."""
    named = [prompts.label] if prompts.label else [*{**prompts.points, **prompts.object_boxes}]
    if prompts.reset:
        for name in named:
            forget_prompts(session, name)
    changed: set[int] = set()
    for name, points in prompts.points.items():
        changed |= set(session.set_points(name, points, keep_automatic=prompts.keep_automatic))
    for name in named:
        if name in prompts.boxes:
            changed |= set(session.set_box(name, *prompts.boxes[name]))
        elif name in prompts.object_boxes:
            empty = [] if prompts.slice is None or prompts.keep_boxes else [prompts.slice]
            boxes, keep = prompts.object_boxes[name], prompts.keep_boxes
            changed |= set(session.set_boxes(name, boxes, empty=empty, keep_automatic=keep))
        else:
            changed |= set(session.drop_boxes(name))
    if not changed and prompts.slice is not None and not any(prompts.points.values()):
        changed = {prompts.slice}
    slices = sorted(changed)
    session.segment(slices)
    if prompts.propagate and slices:
        start = prompts.slice if prompts.slice in changed else slices[len(slices) // 2]
        for reached in session.propagate(start, labels=named).values():
            changed |= set(reached)
    return sorted(changed)


def forget_prompts(session: InteractiveSession, name: str) -> None:
    """Drop the prompts of a class, in all slices, and keep its masks: 3D Slicer asks for it when a label is chosen."""
    index = session.label_index(name)
    kept = session.label == index
    session.clear(name)
    session.label[kept] = index


def describe(
    session: InteractiveSession, names: Mapping[str, int], seconds: float, slices: list[int] | None = None
) -> dict[str, Any]:
    """What a client gets beside the label map; `points` are there to be shown, edited and sent back."""
    shown = sorted(session.results) if slices is None else [at for at in slices if at in session.results]
    points = {
        name: [
            {"voxel": list(point.voxel), "positive": point.positive, "automatic": point.automatic}
            for at in shown
            for point in session.points(name, at)
        ]
        for name in session.labels.values()
    }
    boxes = {
        name: [[list(corner) for corner in box] for at in shown for box in session.boxes(name, at)]
        for name in session.labels.values()
    }
    box_quality = {
        name: [quality for at in shown for quality in session.box_quality(name, at)] for name in session.labels.values()
    }
    quality = [session.results[at].quality for at in shown if session.results[at].quality]
    presence = [session.results[at].presence for at in shown if session.results[at].presence]
    return {
        "label_names": dict(names),
        "points": points,
        "boxes": boxes,
        "box_quality": box_quality,
        "slices": shown,
        "slice_axis": session.slice_axis,
        "expected_dice": session.expected_dice(shown[0] if len(shown) == 1 else None),
        "quality": _means(quality),
        "presence": _means(presence),
        "latencies": {"total": round(seconds, 4)},
    }


def _means(values: list[dict[str, float]]) -> dict[str, float]:
    """Per class the mean over slices; NaN, which JSON has not, left out."""
    names = values[0] if values else {}
    means = {name: [one[name] for one in values if one[name] == one[name]] for name in names}
    return {name: round(float(np.mean(numbers)), 4) for name, numbers in means.items() if numbers}
