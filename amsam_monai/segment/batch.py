"""A folder of mixed formats through a segmenter: every file on its own, nothing half-written, one report."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from amsam_monai.data.files.images import read_image, stem_of
from amsam_monai.segment.batch_report import Record, warnings_of
from amsam_monai.segment.instance_files import MAP, TABLE, write_table
from amsam_monai.segment.jobs import Job, is_written, plan
from amsam_monai.segment.segmenter import ReadyImage, SegmentedImage, Segmenter

logger = logging.getLogger(__name__)

__all__ = ["BatchSegmenter", "Extras", "Job", "plan", "refuse_clashes"]


@dataclass(frozen=True)
class Extras:
    """What is written beside each label map.

    Args:
        labels: one mask per class, named after it.
        probabilities: probabilities of all classes.
        overlay: a picture of the mask over the image.
        instances: a map with a number for each object, and a table of them.
    """

    labels: bool = False
    probabilities: bool = False
    overlay: bool = False
    instances: bool = False

    def paths(self, job: Job, is_volume: bool, names: Sequence[str]) -> list[Path]:
        """Files beside the label map of `job`, in the order labels, probabilities, overlay, instances."""
        mask, shares = (".nii.gz", ".nii.gz") if is_volume else (".png", ".npz")
        found = [job.beside(f"_{file_name(name)}{mask}") for name in names] if self.labels else []
        found += [job.beside(f"_probabilities{shares}")] if self.probabilities else []
        found += [job.beside("_overlay.png")] if self.overlay else []
        return found + ([job.beside(MAP + mask), job.beside(TABLE)] if self.instances else [])


def file_name(label: str) -> str:
    """A label's name as a part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in label)


def refuse_clashes(jobs: Sequence[Job], extras: Extras, labels: Sequence[str]) -> None:
    """Refuse jobs of which one would write over what another writes (a.png's overlay over the mask of a_overlay.png).

    Raises:
        ValueError: two jobs with a file of one name, or two classes, or a class named as what lies beside masks.
    """
    for kind in (True, False):
        names = Counter(path.name.casefold() for path in extras.paths(Job(Path("x"), Path("x")), kind, labels))
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(
                f"files beside a mask must have names of their own, two would end in {twice[0][2:]} (classes "
                f"{', '.join(labels)}); leave --labels or what goes beside it out."
            )
    stems = {str(job.stem).casefold(): job for job in jobs}
    for job in jobs:
        for kind in (True, False):
            for path in extras.paths(job, kind, labels):
                other = stems.get(str(path.with_name(stem_of(path))).casefold())
                if other is not None and other is not job:
                    raise ValueError(
                        f"{path.name}, which is written beside the mask of {job.source}, must not be the mask of "
                        f"{other.source} too; rename one of the images, or segment them into two folders."
                    )


@dataclass
class Case:
    """A job on its way: what its steps made, and what became of it where it has come to an end."""

    job: Job
    seconds: float = 0.0
    ready: ReadyImage | None = None
    result: SegmentedImage | None = None
    record: Record | None = None


class BatchSegmenter:
    """Segment jobs and write their files; a job that fails is reported and passed over.

    Args:
        segmenter: what segments.
        extras: what is written beside the label maps.
        resume: pass over jobs whose files are all there.
        progress: called with (job, slices done, slices in all).
        reading: options of `read_image`.
        quality: tell how good the masks are expected to be; None does where the model is calibrated.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        extras: Extras | None = None,
        resume: bool = False,
        progress: Callable[[Job, int, int], None] | None = None,
        reading: Mapping[str, Any] | None = None,
        quality: bool | None = None,
    ) -> None:
        self.quality = quality
        self.segmenter, self.resume, self.reading = segmenter, resume, dict(reading or {})
        self.extras = extras or Extras()
        self.progress = progress

    def __call__(self, job: Job, turn: AbstractContextManager[Any] | None = None) -> Record:
        """Segment one input and write its files.

        Args:
            job: one.
            turn: held while the network has it, where several threads share the network.
        """
        case = self._read(Case(job))
        with turn or nullcontext():
            case = self._segment(case)
        case = self._write(case)
        assert case.record is not None  # the last step has one
        return case.record

    def run(self, jobs: Sequence[Job], told: Callable[[Record], None]) -> None:
        """Segment all inputs; while the network has one, a thread reads the next, and another writes the last.

        So there are three inputs in memory at most. Whatever ends the run, what is being written is written whole and
        told.

        Args:
            jobs: one after the other.
            told: is given the record of each in their order, in the thread that writes.
        """
        reader, writer = (ThreadPoolExecutor(1, f"amsam-{name}") for name in ("read", "write"))

        def write(case: Case) -> None:
            record = self._write(case).record
            assert record is not None  # the last step has one
            told(record)

        try:
            waiting = iter(jobs)
            reading = [reader.submit(self._read, Case(job)) for job in islice(waiting, 1)]
            writing: list[Future[None]] = []
            while reading:
                case = reading.pop().result()
                reading = [reader.submit(self._read, Case(job)) for job in islice(waiting, 1)]
                case = self._segment(case)
                for last in writing:
                    last.result()
                writing = [writer.submit(write, case)]
                del case
            for last in writing:
                last.result()
        finally:
            reader.shutdown(wait=False, cancel_futures=True)
            writer.shutdown()

    def _read(self, case: Case) -> Case:
        with self._step(case):
            job = case.job
            if self.resume and self._complete(job):
                case.record = Record(str(job.source), "skipped", str(job.existing()))
                return case
            image = read_image(job.source, **self.reading)
            job.label_path(image)  # refuses
            case.ready = self.segmenter.ready(image)
        return case

    def _segment(self, case: Case) -> Case:
        if case.ready is None:
            return case
        ready, case.ready = case.ready, None
        depth = ready.image.array.shape[2] if ready.image.kind == "volume" else 1

        def tell(done: int) -> None:
            if self.progress is not None:
                self.progress(case.job, done, depth)

        with self._step(case):
            case.result = self.segmenter(
                ready,
                probabilities=self.extras.probabilities,
                instances=self.extras.instances,
                quality=self.quality,
                progress=tell,
            )
        return case

    def _write(self, case: Case) -> Case:
        if case.result is None:
            return case
        result, case.result = case.result, None
        with self._step(case):
            image, output = result.source, case.job.label_path(result.source)
            extras = self._write_extras(case.job, result)
            result.save(output)  # last: where the label map is, everything is
            volumes = result.volumes()
            case.record = Record(
                input=str(case.job.source),
                status="done",
                output=str(output),
                shape=list(image.spatial_shape),
                spacing_mm=None if image.spacing_mm is None else [round(length, 6) for length in image.spacing_mm],
                labels=volumes,
                files=[str(path) for path in extras],
                warnings=warnings_of(result, volumes),
                quality=result.quality,
                notes=list(image.notes),
            )
        if case.record.status == "done":
            case.record.seconds = round(case.seconds, 3)
        return case

    @contextmanager
    def _step(self, case: Case) -> Iterator[None]:
        """Count the seconds of a step, and note what a library raises for one file: the others go on."""
        start = time.perf_counter()
        try:
            yield
        except Exception as error:
            source = str(case.job.source)
            logger.debug("%s failed", source, exc_info=True)
            message = str(error) or type(error).__name__
            if not isinstance(error, (ValueError, TypeError, OSError, RuntimeError, MemoryError, ImportError)):
                message = f"{type(error).__name__}: {message}"
            case.record = Record(source, "failed", error=message.removeprefix(f"{source}: "))
        case.seconds += time.perf_counter() - start

    def _complete(self, job: Job) -> bool:
        label = job.existing()
        if label is None:
            return False
        is_volume = not label.name.lower().endswith(".png")
        return all(is_written(path) for path in self.extras.paths(job, is_volume, list(self.segmenter.labels.values())))

    def _write_extras(self, job: Job, result: SegmentedImage) -> list[Path]:
        from amsam_monai.segment.overlay import save_overlay

        volume = result.source.kind == "volume"
        paths = self.extras.paths(job, volume, list(result.labels.values()))
        waiting = iter(paths)
        if self.extras.labels:
            for index in result.labels:
                SegmentedImage(result.source, result.only(index), {1: result.labels[index]}).save(next(waiting))
        if self.extras.probabilities:
            result.save_probabilities(next(waiting))
        if self.extras.overlay:
            save_overlay(result, next(waiting))
        if self.extras.instances:
            result.save_instances(next(waiting))
            write_table(result, next(waiting))
        return paths
