"""Inputs of `amsam segment` on workers: a bundle is loaded once for each, and an input is segmented once."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.segment.batch import BatchSegmenter, Job
from amsam_monai.segment.batch_report import Record

_building = threading.Lock()  # of the network, once
_network = threading.Lock()  # is not for two threads; they may read and write at once


@dataclass(frozen=True)
class SegmentJob:
    """Segments an input on a worker, and keeps the record where another worker finds it.

    A worker that dies takes with it what it told nobody yet; who gets its inputs then reads the records, and segments
    only what has none.

    Args:
        make: makes what segments; called once in each worker for equal arguments.
        told: arguments of `make`, as text.
        records: folder, which all workers and the caller see.
    """

    make: Callable[[str], BatchSegmenter]
    told: str
    records: Path

    def __call__(self, job: Job) -> Record:
        """Segment one input and write its files."""
        path = self.records / f"{hashlib.sha256(str(job.source).encode()).hexdigest()}.json"
        if path.is_file():
            return Record(**json.loads(path.read_text(encoding="utf-8")))
        with _building:
            batch = _made(self.make, self.told)
        record = batch(job, turn=_network)
        if self.records.is_dir():  # else nobody waits any more
            with whole_file(path) as partial:
                partial.write_text(json.dumps(asdict(record)), encoding="utf-8")
        return record


@lru_cache(maxsize=1)
def _made(make: Callable[[str], BatchSegmenter], told: str) -> BatchSegmenter:
    return make(told)
