"""Cases on two real worker processes: one answer, nothing lost or done twice when one is killed."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from amsam_monai.cli import app
from amsam_monai.cli.segment_cluster import RECORDS
from amsam_monai.cluster.cluster import Cluster, connect
from amsam_monai.cluster.segmenting import SegmentJob, _made
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment.batch import BatchSegmenter, Case, Job, plan
from amsam_monai.segment.batch_report import Record
from amsam_monai.segment.segmenter import Segmenter
from tests.data.tiny_sets import isic_pair, picture
from tests.label_app.nano_bundle import write_nano_bundle

distributed = pytest.importorskip("distributed", reason="needs Dask")
PICTURES = 6


@pytest.fixture(scope="module")
def address():
    """Of a scheduler with two workers, processes of their own."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as here:
        yield here.scheduler_address


@pytest.fixture
def pictures(tmp_path):
    for number in range(PICTURES):
        picture(tmp_path / "in" / f"{number}.png", 40, 30)
    return tmp_path / "in"


def run(*arguments, code=0):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.slow  # workers import torch
def test_segment_gives_the_same_on_workers(address, pictures, tmp_path):
    bundle = write_nano_bundle(tmp_path, labels=("lesion",), data_type="png")
    (pictures / "7.png").write_bytes(b"no picture")
    for out, more in (("here", ()), ("there", ("--scheduler", address))):
        output = run("segment", pictures, tmp_path / out, "--bundle", bundle, "--overlay", *more, code=1)
        assert f"{PICTURES} segmented, 0 skipped, 1 failed" in output.replace("\n", " ")
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == names  # no record is left
    for name in (one for one in names if one.endswith(".png")):
        assert (np.asarray(Image.open(tmp_path / "here" / name)) == Image.open(tmp_path / "there" / name)).all()
    reports = [
        json.loads((tmp_path / out / "segment_report.json").read_text(encoding="utf-8")) for out in ("here", "there")
    ]
    told = [[(case["input"], case["status"], case["error"]) for case in report["cases"]] for report in reports]
    assert sorted(told[0], key=str) == sorted(told[1], key=str)
    output = run(
        "segment", pictures, tmp_path / "there", "--bundle", bundle, "--resume", "--scheduler", address, code=1
    )
    assert f"0 segmented, {PICTURES} skipped, 1 failed" in output.replace("\n", " ")


def test_evaluate_and_prepare_give_the_same_on_workers(address, tmp_path):
    for stem in ("ISIC_0000001", "ISIC_0000002"):
        isic_pair(tmp_path / "data", stem)
    for out, more in (("here", ()), ("there", ("--scheduler", address))):
        run("prepare", "isic", tmp_path / "data", tmp_path / out / "prepared", *more)
        labels = tmp_path / out / "prepared" / "labels"
        run("evaluate", labels, labels, "--labels", "1=lesion", "--out", tmp_path / out / "scores", *more)
    for name in ("prepared/dataset.json", "prepared/contact_sheet.png", "scores/scores.csv"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


class Tells:
    """In the place of a network: a line for each input that is begun; a worker is killed over one."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def __call__(self, job: Job, turn: object = None) -> Record:
        with (self.folder / "begun.txt").open("a", encoding="utf-8") as file:
            file.write(f"{job.source.name}\n")
        if job.source.name == "2":
            try:
                (self.folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                time.sleep(1)  # the other worker ends a few meanwhile
                os.kill(os.getpid(), signal.SIGKILL)
        return Record(str(job.source), "done")


@pytest.mark.slow  # workers import torch
def test_a_worker_that_is_killed_loses_nothing_and_no_input_is_done_twice(tmp_path):
    records = tmp_path / RECORDS
    records.mkdir()
    jobs = [Job(Path(str(number)), Path("x")) for number in range(12)]
    with connect("local:2") as cluster:
        found = dict(cluster.as_done(SegmentJob(Tells, str(tmp_path), records), jobs))
    assert {place: record.input for place, record in found.items()} == {n: str(n) for n in range(12)}
    begun = (tmp_path / "begun.txt").read_text(encoding="utf-8").split()
    assert sorted(begun, key=int) == [*map(str, range(3)), "2", *map(str, range(3, 12))]  # the one in the middle, again


@pytest.mark.slow  # a worker imports torch
def test_local_workers_keep_freed_memory():
    with connect("local:1") as cluster:
        assert list(cluster.map(os.environ.get, ["MALLOC_TRIM_THRESHOLD_"])) == [
            os.environ.get("MALLOC_TRIM_THRESHOLD_")
        ]


def test_a_record_that_is_there_is_not_made_again(tmp_path):
    job, records = Job(Path("a"), Path("x")), tmp_path / "records"
    records.mkdir()
    task = SegmentJob(Tells, str(tmp_path), records)
    assert task(job) == task(job) == Record("a", "done")
    assert (tmp_path / "begun.txt").read_text(encoding="utf-8") == "a\n"
    records = tmp_path / "gone"
    assert SegmentJob(Tells, str(tmp_path), records)(job).status == "done"
    assert not records.exists()  # nobody waits


class Overlaps(BatchSegmenter):
    """Waits in the network's place until the other image is read, and counts who is there."""

    def __init__(self, folder: str) -> None:
        network = AMSAM(build_sam("vit_nano", image_size=64))
        super().__init__(Segmenter(network, {1: "a"}))
        self.folder, self.read, self.both, self.inside, self.overlapped = Path(folder), [], threading.Event(), 0, []
        (self.folder / "made").touch(exist_ok=False)  # once

    def _read(self, case: Case) -> Case:
        case = super()._read(case)
        self.read.append(case.job.source.name)
        if len(self.read) == 2:
            self.both.set()
        return case

    def _segment(self, case: Case) -> Case:
        self.inside += 1
        self.overlapped.append((self.both.wait(60), self.inside))
        case = super()._segment(case)
        self.inside -= 1
        return case


def test_threads_of_a_worker_read_while_one_has_the_network(tmp_path):
    for name in ("0.png", "1.png"):
        picture(tmp_path / "in" / name, 20, 16)
    (tmp_path / "records").mkdir()
    task = SegmentJob(Overlaps, str(tmp_path), tmp_path / "records")
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(task, plan(tmp_path / "in", tmp_path / "out")))
    assert [record.status for record in done] == ["done", "done"]
    assert _made(Overlaps, str(tmp_path)).overlapped == [(True, 1), (True, 1)]


@pytest.mark.parametrize("scheduler", ["local:0", "local", "host:8786", "http://host:1"])
def test_a_scheduler_of_another_form_is_refused(scheduler):
    with (
        pytest.raises(ValueError, match=r"scheduler must be local:N.* or an address such as tcp://HOST:8786, got"),
        connect(scheduler),
    ):
        pass


def test_a_scheduler_that_nobody_answers_at_is_told(monkeypatch):
    monkeypatch.setattr("amsam_monai.cluster.cluster.SECONDS", 1)
    with (
        pytest.raises(ConnectionError, match="no Dask scheduler answers within 1 s; start one"),
        connect("tcp://127.0.0.1:9"),
    ):
        pass


def test_workers_of_another_version_are_refused(address, monkeypatch):
    monkeypatch.setattr("amsam_monai.cluster.cluster.__version__", "9.9.9")
    with (
        pytest.raises(ConnectionError, match=r"workers must have amsam_monai 9.9.9, as here, got \S+ on tcp"),
        connect(address),
    ):
        pass


def test_what_goes_wrong_with_an_item_is_its_result_and_ends_a_map(address):
    with connect(address) as cluster:
        assert isinstance(cluster, Cluster)
        found = dict(cluster.as_done(partial(divmod, 6), [3, 0]))
        assert found[0] == (2, 0)
        assert isinstance(found[1], ZeroDivisionError)
        assert list(cluster.map(partial(divmod, 6), [3, 2])) == [(2, 0), (3, 0)]
        with pytest.raises(ZeroDivisionError):
            list(cluster.map(partial(divmod, 6), [0]))
