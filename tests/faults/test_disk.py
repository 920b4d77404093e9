"""A full disk, a folder without the right to write, two processes in one folder: what is said, and when."""

import os
import re
import shutil
import signal

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from typer.testing import CliRunner

from amsam_monai.bundles.model_file import read_model, write_model
from amsam_monai.bundles.run import run_training
from amsam_monai.cli import app
from amsam_monai.cli.errors import plain_errors
from amsam_monai.data.embeddings.cache import EmbeddingCache
from amsam_monai.data.embeddings.contents import clear_cache
from amsam_monai.data.files.atomic import check_writable
from amsam_monai.data.files.claim import claim, release
from amsam_monai.data.files.images import read_image, write_label
from amsam_monai.data.prepare.prepare import prepare
from amsam_monai.engines.fit_detector import load_or_fit_detector
from amsam_monai.handlers import TrainState
from amsam_monai.networks.detector.box_head import BoxHead
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.networks.detector.files import save_detector
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment.batch import BatchSegmenter, Extras, plan
from amsam_monai.segment.films import FilmWriter
from amsam_monai.segment.segmenter import Segmenter
from tests.bundles.runs import BUNDLES
from tests.data.tiny_sets import isic_pair, picture
from tests.faults.children import FORK, answer_of, as_nobody, on_a_small_disk, open_folder, run
from tests.segment.toy import LABELS, Toy, phantom
from tests.session.test_session import opened

pytestmark = [pytest.mark.skipif(FORK is None, reason="needs fork"), pytest.mark.usefixtures("one_thread")]

FULL = r"No space left on device; make room, or write to another disk.*"
SETTINGS = {
    "system": "amsam",
    "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
    "classes": {"lesion": 1},
}


# A full disk, a real one of a few pages


def segment(source, out, **extras):
    batch = BatchSegmenter(Segmenter(Toy(), LABELS, intensity={"mode": "min_max"}), extras=Extras(**extras))
    with torch.no_grad():
        records = [batch(job) for job in plan(source, out)]
    return [(record.status, record.error) for record in records], visible(out)


def visible(folder):
    """What lies in a folder, hidden or not."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_masks_that_have_no_room_are_failed_by_name_and_leave_nothing(tmp_path):
    rng = np.random.default_rng(0)
    noise = nib.Nifti1Image(rng.integers(0, 256, (64, 64, 40)).astype(np.int16), np.eye(4))
    (tmp_path / "in").mkdir()
    nib.save(noise, tmp_path / "in" / "a.nii.gz")
    (tmp_path / "out").mkdir()
    ((status, error),), left = answer_of(
        on_a_small_disk, 16384, tmp_path / "out", segment, tmp_path / "in", tmp_path / "out"
    )
    assert status == "failed"
    assert re.search(FULL + r"a\.nii\.gz", error)
    assert left == []


def try_to(work, folder, *arguments):
    """The error of some work, and what it leaves below a folder."""
    try:
        work(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}", visible(folder)
    return "", visible(folder)


def write_big_model(path):
    write_model(path, {"weight": torch.rand(100_000)}, SETTINGS)


def write_big_nrrd(path, source):
    image = read_image(source)
    write_label(path, np.random.default_rng(0).integers(0, 200, image.spatial_shape).astype(np.uint8), image)


def fill_cache(folder):
    store = EmbeddingCache(folder, fingerprint={"weights_sha256": "abc"}, dtype="float32")
    store.get_or_compute(torch.rand(3, 64, 64), lambda batch: batch.repeat(1, 4, 1, 1))


@pytest.mark.parametrize("what", ["model", "nrrd", "cache", "session"])
def test_whatever_is_written_the_file_is_named_and_the_one_before_stays(what, tmp_path):
    """Torch and ITK tell a full disk in words of their own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    nib.save(phantom((64, 64, 30)), tmp_path / "a.nii.gz")
    session = opened(volume=np.random.default_rng(0).random((60, 60, 30)).astype(np.float32))
    session.segment("all")
    work, *arguments, name = {
        "model": (write_big_model, folder / "model.pt", "model.pt"),
        "nrrd": (write_big_nrrd, folder / "a.nrrd", tmp_path / "a.nii.gz", "a.nrrd"),
        "cache": (fill_cache, folder, "safetensors"),
        "session": (session.save, folder / "case.nii.gz", "case"),
    }[what]
    error, left = answer_of(on_a_small_disk, 12288, folder, try_to, work, folder, *arguments)
    assert re.match(r"OSError: \[Errno 28\] " + FULL + name, error), error
    assert not [one for one in left if "." in one and "fingerprint" not in one]


def wish_another_floor(source, folder):
    shutil.copy(source, folder / "detector.pth")
    wish = {"class_names": ["a"], "architecture": "embedding", "network": AMSAM(build_sam("vit_nano", image_size=64))}
    load_or_fit_detector(folder / "detector.pth", [], confidence=0.3, **wish)


def test_a_detector_that_has_no_room_is_named_and_the_one_before_stays(tmp_path):
    source, folder = tmp_path / "d.pth", tmp_path / "disk"
    folder.mkdir()
    save_detector(EmbeddingDetector(BoxHead(1, width=64, dilations=(1,)), class_names=["a"], image_size=64), source)
    work = try_to, wish_another_floor, folder, source, folder
    error, left = answer_of(on_a_small_disk, source.stat().st_size + 8192, folder, *work)
    assert re.match(r"OSError: \[Errno 28\] " + FULL + "detector.pth", error), error
    assert left == ["detector.pth"]


def film(path):
    rng = np.random.default_rng(0)
    with FilmWriter(path) as writer:
        for _ in range(20):
            writer.add(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))


def test_a_film_that_has_no_room_is_named_and_not_there(tmp_path):
    """OpenCV writes on without a word."""
    pytest.importorskip("cv2")
    error, left = answer_of(on_a_small_disk, 16384, tmp_path, try_to, film, tmp_path, tmp_path / "a.mp4")
    assert re.match(r"OSError: \[Errno 28\] " + FULL + r"a\.mp4", error), error
    assert left == []


def test_a_data_set_that_has_no_room_is_prepared_once_there_is(tmp_path):
    for number in range(4):
        isic_pair(tmp_path / "data", f"ISIC_000000{number}")
    (tmp_path / "out").mkdir()

    def work():
        return try_to(prepare, tmp_path / "out", "isic", tmp_path / "data", tmp_path / "out")

    error, left = answer_of(on_a_small_disk, 20480, tmp_path / "out", work)
    assert error.startswith("OSError: [Errno 28] No space left on device")
    assert "dataset.json" not in left
    assert not [one for one in left if ".partial" in one]
    assert prepare("isic", tmp_path / "data", tmp_path / "out").report["cases"] == 4


# No right to write, found before the computing


def test_a_folder_that_may_not_be_written_to_is_refused_and_nothing_is_made():
    with open_folder() as folder:
        (folder / "shut").mkdir(mode=0o555)
        (folder / "file").touch()
        check_writable(folder / "new" / "below")
        assert not (folder / "new").exists()
        for place in ("shut", "shut/new/below", "file", "file/below"):
            error = answer_of(as_nobody, check_writable, folder / place)
            assert isinstance(error, OSError), place
            assert re.search(
                r"must be a folder that can be written to, got (Permission denied|Not a directory)", str(error)
            )
            assert str(error).startswith(str(folder / place))


COMMANDS = {
    "segment": ["segment", "IN", "OUT", "--bundle", "nowhere"],
    "evaluate": ["evaluate", "IN", "IN", "--labels", "1=a", "--out", "OUT"],
    "train": ["train", "IN", "--out", "OUT"],
    "train-detector": ["train-detector", "IN", "IN", "OUT/detector.pth", "--start", "nothing.pt"],
    "confusion": ["confusion", "IN", "IN", "--labels", "1=a", "--out", "OUT", "--weights", "nothing"],
    "label": ["label", "start", "IN", "--bundle", "nowhere", "--app-dir", "OUT"],
    "convert": ["convert", "aisam", "nothing.pt", "OUT/model.pt"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_look_at_their_output_before_they_load_anything(command, tmp_path):
    """Bundle and weights, which come later, are not there either."""
    picture(tmp_path / "in" / "a.png", 8, 8)
    (tmp_path / "out").touch()
    places = {"IN": "in", "OUT": "out", "OUT/detector.pth": "out/d.pth", "OUT/model.pt": "out/m.pt"}
    places = {word: str(tmp_path / place) for word, place in places.items()}
    result = CliRunner().invoke(app, [places.get(word, word) for word in COMMANDS[command]])
    assert result.exit_code == 1
    assert "must be a folder that can be written to, got Not a directory" in " ".join(result.output.split())


def test_a_bundles_training_looks_at_its_folders_first(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match="out/models: must be a folder that can be written to"):
        run_training(BUNDLES / "isic_amsam_segmentation", root=tmp_path / "out", overrides={"dataset_dir": "nowhere"})


# Two processes in one folder


def test_the_same_folder_segmented_twice_at_once_is_whole(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / "in" / f"{name}.png", 32, 32)
    segment(tmp_path / "in", tmp_path / "whole", overlay=True)
    places = tmp_path / "in", tmp_path / "out"
    both = [FORK.Process(target=segment, args=places, kwargs={"overlay": True}) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert visible(tmp_path / "out") == visible(tmp_path / "whole")
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_a_folder_that_another_process_prepares_is_refused(tmp_path):
    isic_pair(tmp_path / "data")
    lock = claim(tmp_path / "out" / ".amsam-prepare", "another `amsam prepare`")
    error = answer_of(prepare, "isic", tmp_path / "data", tmp_path / "out")
    assert isinstance(error, OSError)
    assert "out: another `amsam prepare` writes there already; wait for it, or choose another folder." in str(error)
    release(lock)
    assert visible(tmp_path / "out") == []
    assert prepare("isic", tmp_path / "data", tmp_path / "out").report["cases"] == 1


def train_for_a_moment(path):
    """Three epochs of a trainer that keeps its state; gives what lies beside the state meanwhile."""
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "rank", 0))
    TrainState(torch.nn.Linear(2, 2), path).attach(engine)
    seen = []
    engine.add_event_handler(Events.EPOCH_STARTED(once=2), lambda: seen.extend(visible(path.parent)))
    engine.run([0], max_epochs=3)
    return seen


def test_two_trainings_do_not_share_a_state(tmp_path):
    path = tmp_path / "eval" / "train_state.pt"
    lock = claim(path.with_name(".train_state.pt.lock"), "another training")
    error = answer_of(train_for_a_moment, path)
    assert isinstance(error, OSError)
    assert "eval: another training writes there already; wait for it, or choose another folder." in str(error)
    release(lock)
    assert answer_of(train_for_a_moment, path) == [".train_state.pt.lock", "train_state.pt"]
    assert visible(tmp_path / "eval") == []


# Told to end


@plain_errors
def wait_and_report(path):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        path.write_text("what was done", encoding="utf-8")


def test_a_command_that_is_told_to_end_writes_what_it_has_to_tell(tmp_path):
    assert run(wait_and_report, tmp_path / "report") == 128 + signal.SIGTERM
    assert (tmp_path / "report").read_text(encoding="utf-8") == "what was done"


# Clocks, links, lost files


def test_clearing_a_cache_follows_no_link_and_keeps_what_a_clock_put_into_the_future(tmp_path):
    fill_cache(tmp_path / "cache")
    fill_cache(tmp_path / "other")
    encoder = next(path for path in (tmp_path / "cache").iterdir())
    mine = next(encoder.glob("??/*.safetensors"))
    away = next((tmp_path / "other").glob("*/??"))
    (encoder / "zz").symlink_to(away)
    (tmp_path / "cache" / "linked").symlink_to(away.parent)
    (mine.parent / "link.safetensors").symlink_to(next(away.iterdir()))
    os.utime(mine, (mine.stat().st_atime, mine.stat().st_mtime + 1e6))
    assert clear_cache(tmp_path / "cache", older_than_s=60)[0] == 0
    assert clear_cache(tmp_path / "cache", older_than_s=-2e6)[0] == 1
    assert not mine.exists()
    assert len(list(away.iterdir())) == 1


def test_a_model_that_is_written_over_stays_readable_meanwhile(tmp_path):
    write_model(tmp_path / "model.pt", {"weight": torch.zeros(2)}, SETTINGS)
    with (tmp_path / "model.pt").open("rb") as held:
        write_model(tmp_path / "model.pt", {"weight": torch.ones(2)}, SETTINGS)
        held.read()
    assert read_model(tmp_path / "model.pt").adapter["weight"].tolist() == [1, 1]
