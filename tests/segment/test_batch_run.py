"""A run over many inputs reads ahead and writes behind, and answers as one input after the other does."""

import json
import threading

import nibabel as nib
import numpy as np
import pytest

from amsam_monai.data.files.images import read_image
from amsam_monai.segment.batch import BatchSegmenter, Extras, plan
from amsam_monai.segment.segmenter import Segmenter
from tests.data.tiny_sets import picture
from tests.segment.toy import LABELS, Toy, phantom

EVERYTHING = Extras(labels=True, probabilities=True, overlay=True)


class Watched(Toy):
    """A toy that can wait until something has happened, or be interrupted."""

    def __init__(self, wait=None, interrupt_at=None):
        super().__init__()
        self.wait, self.interrupt_at, self.images = wait, interrupt_at, 0

    def forward(self, image, **options):
        self.images += 1
        if self.wait is not None:
            assert self.wait(self.images)
        if self.images == self.interrupt_at:
            raise KeyboardInterrupt
        return super().forward(image, **options)


@pytest.fixture
def folder(tmp_path):
    """A picture, a volume, a file that is no picture, and two more pictures."""
    for name in ("a", "d", "e"):
        picture(tmp_path / "in" / f"{name}.png", 9, 8)
    nib.save(phantom(), tmp_path / "in" / "b.nii.gz")
    (tmp_path / "in" / "c.png").write_bytes(b"no picture")
    return tmp_path / "in"


def batch(network=None, **options):
    return BatchSegmenter(Segmenter(network or Toy(), LABELS, intensity={"mode": "min_max"}), **options)


def pixels(path):
    """What a file holds, whatever else stands in it."""
    if path.name.endswith(".nii.gz"):
        return np.asarray(nib.load(path).dataobj)
    return np.load(path)["probabilities"] if path.suffix == ".npz" else np.frombuffer(path.read_bytes(), np.uint8)


def test_files_and_records_are_those_of_one_input_after_the_other(folder, tmp_path):
    one = [batch(extras=EVERYTHING)(job) for job in plan(folder, tmp_path / "one")]
    run = []
    batch(extras=EVERYTHING).run(plan(folder, tmp_path / "run"), run.append)
    assert [record.status for record in run] == ["done", "done", "failed", "done", "done"]
    assert "c.png" in run[2].input
    assert "cannot be read as picture" in run[2].error
    for record, wanted in zip(run, one, strict=True):
        assert (record.seconds is None) == (record.status == "failed")
        record.seconds = wanted.seconds
        assert json.dumps(record.__dict__).replace(f"{tmp_path}/run", f"{tmp_path}/one") == json.dumps(wanted.__dict__)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == names
    for name in names:
        np.testing.assert_array_equal(pixels(tmp_path / "run" / name), pixels(tmp_path / "one" / name), err_msg=name)


def test_the_next_input_is_read_and_the_last_written_while_the_network_works(folder, tmp_path, monkeypatch):
    (folder / "b.nii.gz").unlink()
    (folder / "c.png").unlink()
    read, told = {}, {}
    for name in ("a", "d", "e"):
        read[name], told[name] = threading.Event(), threading.Event()

    def wait(number):  # of a the next is read, of d the next is read and a is told, of e d is told
        events = {1: [read["d"]], 2: [read["e"], told["a"]], 3: [told["d"]]}[number]
        assert number > 1 or not read["e"].is_set()  # one ahead, not two
        return all(event.wait() for event in events)

    def read_and_tell(path, **options):
        image = read_image(path, **options)
        read[path.stem].set()
        return image

    monkeypatch.setattr("amsam_monai.segment.batch.read_image", read_and_tell)
    batch(Watched(wait)).run(
        plan(folder, tmp_path / "out"), lambda record: told[record.output.removesuffix(".png")[-1]].set()
    )
    assert all(event.is_set() for event in told.values())


def test_what_is_written_is_told_when_the_run_is_interrupted(folder, tmp_path):
    (folder / "b.nii.gz").unlink()
    (folder / "c.png").unlink()
    records = []
    with pytest.raises(KeyboardInterrupt):
        batch(Watched(interrupt_at=3)).run(plan(folder, tmp_path / "out"), records.append)
    assert [record.input[-5:] for record in records] == ["a.png", "d.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "d.png"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("amsam-write")]


def test_a_network_that_fails_on_an_input_goes_on_with_the_others(folder, tmp_path):
    class Fails(Toy):
        def forward(self, image, **options):
            if image.shape[-2:] == (10, 12):  # the volume
                raise RuntimeError("no such kernel")
            return super().forward(image, **options)

    records = []
    batch(Fails()).run(plan(folder, tmp_path / "out"), records.append)
    assert [record.status for record in records] == ["done", "failed", "failed", "done", "done"]
    assert records[1].error == "no such kernel"


def test_no_inputs_are_no_records():
    records = []
    batch().run([], records.append)
    assert records == []


def test_an_error_of_who_is_told_ends_the_run(folder, tmp_path):
    def told(record):
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        batch().run(plan(folder, tmp_path / "out"), told)
