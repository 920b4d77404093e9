"""The cases of `amsam segment --scheduler` on the workers of a Dask cluster."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amsam_monai.segment.batch import BatchSegmenter, Job
    from amsam_monai.segment.batch_report import Record

RECORDS = ".cohort"  # beside the results, while workers write them


def on_cluster(scheduler: str, jobs: Sequence[Job], asked: Mapping[str, Any], out: Path) -> Iterator[Record]:
    """Records of all jobs, as workers end them.

    Args:
        scheduler: see `connect`.
        jobs: of the command; workers must see their files under the same paths.
        asked: arguments of `worker`, plain values.
        out: folder of the results.
    """
    import typer

    from amsam_monai.bundles.find import find_bundle
    from amsam_monai.cluster.cluster import connect
    from amsam_monai.cluster.segmenting import SegmentJob
    from amsam_monai.segment.batch_report import Record

    bundle = str(find_bundle(asked["build"]["bundle"]))
    told = json.dumps({**asked, "build": {**asked["build"], "bundle": bundle}})
    records = out.resolve() / RECORDS
    shutil.rmtree(records, ignore_errors=True)
    records.mkdir(parents=True)
    whole = [replace(job, source=job.source.resolve(), stem=job.stem.resolve()) for job in jobs]
    whole = [replace(job, output=job.output and job.output.resolve()) for job in whole]
    try:
        with connect(scheduler) as cluster:
            typer.echo(f"dashboard: {cluster.dashboard}", err=True)
            for place, result in cluster.as_done(SegmentJob(worker, told, records), whole):
                source = str(jobs[place].source)
                if isinstance(result, Exception):
                    yield Record(source, "failed", error=str(result) or type(result).__name__)
                else:
                    yield replace(result, input=source)
    finally:
        shutil.rmtree(records, ignore_errors=True)


def worker(told: str) -> BatchSegmenter:
    """What segments on a worker, from `asked` as JSON."""
    from amsam_monai.cli.segment import build
    from amsam_monai.segment.batch import BatchSegmenter, Extras

    asked = json.loads(told)
    return BatchSegmenter(build(**asked["build"]), extras=Extras(**asked["extras"]), **asked["how"])
