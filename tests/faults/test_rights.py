"""A folder that may not be written to any more while the work goes on: who says so, what stays, what comes after."""

import re
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from amsam_monai.bundles.model_file import read_model
from amsam_monai.cli import app
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import read_label
from amsam_monai.segment.batch import BatchSegmenter, plan
from amsam_monai.segment.segmenter import Segmenter
from tests.bundles.runs import adapter_of
from tests.data.tiny_sets import isic_pair, picture
from tests.faults.children import FORK, answer_of, as_nobody, give_rights, lose_rights_at, open_folder
from tests.faults.test_disk import fill_cache, try_to, visible, write_big_model, write_big_nrrd
from tests.faults.test_killed import contents, entries, fill, prepared, segment, train
from tests.label_app.nano_bundle import write_nano_bundle
from tests.label_app.trainable_bundle import write_trainable_bundle
from tests.segment.toy import LABELS, Toy
from tests.session.test_session import opened

pytestmark = [pytest.mark.skipif(FORK is None, reason="needs fork"), pytest.mark.usefixtures("one_thread")]

LOST = r"Permission denied; its folder must stay one that can be written to"


@pytest.fixture
def folder():
    """A folder that everybody may write to, for nobody is let into pytest's."""
    with open_folder() as folder:
        yield folder


def losing(step, folder, work, *arguments):
    """Lose the rights at one write after the other; gives each write's number and what the work said of it."""
    for number in range(0, 10_000, step):
        give_rights(folder)
        said, _ = answer_of(lose_rights_at, number, folder, try_to, work, folder, *arguments)
        give_rights(folder)
        if not said:
            return
        yield number, said


def test_an_embedding_that_may_not_be_written_is_named_and_the_others_are_whole(folder):
    cache, found = folder / "cache", 0
    fill(folder / "whole")
    wanted = contents(folder / "whole")
    for number, said in losing(3, cache, fill, cache):
        assert re.match(rf"(PermissionError|OSError): .*{LOST}", said), (number, said)
        assert contents(cache).items() <= wanted.items()
        answer_of(as_nobody, fill, cache)
        assert contents(cache) == wanted
        shutil.rmtree(cache)
        found += 1
    assert found > 2


def test_a_data_set_is_prepared_once_the_folder_may_be_written_to_again(folder):
    for stem in ("ISIC_0000001", "ISIC_0000002"):
        isic_pair(folder / "data", stem)
    prepared(folder / "data", folder / "whole")
    wanted, out, found = contents(folder / "whole"), folder / "out", 0
    for number, said in losing(4, out, prepared, folder / "data", out):
        assert re.match(r"(PermissionError|OSError): .*Permission denied", said), (number, said)
        if (out / "dataset.json").is_file():
            assert contents(out).keys() <= wanted.keys()
        assert isinstance(answer_of(as_nobody, prepared_again, folder / "data", out), int)
        assert contents(out) == wanted, number
        shutil.rmtree(out)
        found += 1
    assert found > 2


def prepared_again(source, out):
    return prepared(source, out).report["cases"]


def segment_and_shut(source, out):
    """Three pictures, of which the first alone is written before the folder is shut."""
    out.mkdir()
    batch = BatchSegmenter(Segmenter(Toy(), LABELS, intensity={"mode": "min_max"}))
    records = []
    for job in plan(source, out):
        records.append(batch(job))
        out.chmod(0o555)
    return [(record.status, record.error) for record in records]


def test_masks_that_may_not_be_written_are_failed_by_name_and_resume_makes_them(folder):
    for name in ("a", "b", "c"):
        picture(folder / "in" / f"{name}.png", 8, 8)
    done, *failed = answer_of(as_nobody, segment_and_shut, folder / "in", folder / "out")
    assert done == ("done", None)
    assert [status for status, _ in failed] == ["failed", "failed"]
    for (_, error), name in zip(failed, ("b", "c"), strict=True):
        assert re.search(rf"{LOST}: '{folder}/out/{name}\.png'", error), error
    assert visible(folder / "out") == ["a.png"]
    give_rights(folder / "out")
    assert segment(folder / "in", folder / "out", resume=True) == ["done", "done", "done"]  # with what goes beside them


def segment_by_command(source, out, bundle):
    """The command's exit code and words."""
    result = CliRunner().invoke(app, ["segment", str(source), str(out), "--bundle", str(bundle), "--device", "cpu"])
    return result.exit_code, result.output


def test_a_command_whose_report_may_not_be_written_tells_what_it_did(folder):
    for name in ("a", "b", "c"):
        picture(folder / "in" / f"{name}.png", 32, 32)
    bundle = write_nano_bundle(folder / "bundles", labels=("lesion",), data_type="png")
    give_rights(folder / "out")
    code, words = answer_of(
        lose_rights_at, 4, folder / "out", segment_by_command, folder / "in", folder / "out", bundle
    )
    words = " ".join(words.split())
    assert code == 1
    assert re.search(r"\d segmented, 0 skipped, \d failed", words), words
    assert re.search(rf"error: PermissionError: .*{LOST}: '\S+segment_report\.json'", words), words
    assert not [name for name in visible(folder / "out") if "report" in name and not name.startswith(".")]


def test_a_session_whose_folder_is_shut_keeps_its_work_and_the_file_of_before(folder):
    session = opened()
    session.segment(0)
    first = np.array(session.label)
    session.save(folder / "out" / "case.nii.gz")
    session.segment("all")
    for number, said in losing(1, folder / "out", session.save, folder / "out" / "case.nii.gz"):
        assert re.match(rf"PermissionError: .*{LOST}: '{folder}/out/case", said), (number, said)
        assert read_label(folder / "out" / "case.nii.gz").array.tolist() in (first.tolist(), session.label.tolist())
        assert len([name for name in visible(folder / "out") if not name.startswith(".")]) == 2
    session.save(folder / "out" / "case.nii.gz")
    np.testing.assert_array_equal(read_label(folder / "out" / "case.nii.gz").array, session.label)


@pytest.mark.parametrize("what", ["model", "nrrd", "cache"])
def test_what_torch_and_itk_say_of_a_folder_that_is_a_file_now_names_the_file(what, tmp_path):
    """Root may write everywhere, but not below a file."""
    place = tmp_path / "place"
    place.touch()
    picture(tmp_path / "a.png", 8, 8)
    work, *arguments = {
        "model": (write_big_model, place / "model.pt"),
        "nrrd": (write_big_nrrd, place / "a.nrrd", tmp_path / "a.png"),
        "cache": (fill_cache, place),
    }[what]
    with pytest.raises(OSError, match=r"(Not a directory|File exists).*place"):
        work(*arguments)
    with (
        pytest.raises(NotADirectoryError, match="must stay one that can be written to"),
        whole_file(place / "x") as part,
    ):
        torch.save({}, part)


@pytest.mark.slow
def test_a_training_whose_folder_is_shut_says_so_and_goes_on_once_it_is_open(folder, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(folder / "cache"))
    bundle, cases = write_trainable_bundle(folder, "amsam", classes="{ball: 1}"), entries(folder)
    train(bundle, cases, folder / "whole")
    give_rights(folder)
    wanted, out, found = adapter_of(folder / "whole"), folder / "out", 0
    for number, said in losing(5, out, train, bundle, cases, out):
        assert re.match(r"(PermissionError|OSError): .*Permission denied", said), (number, said)
        if (out / "models" / "model.pt").is_file():
            read_model(out / "models" / "model.pt")
        train(bundle, cases, out)
        assert all(torch.equal(value, adapter_of(out)[name]) for name, value in wanted.items()), number
        shutil.rmtree(out)
        found += 1
    assert found > 1
