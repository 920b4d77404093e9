"""Temporary folders of processes that were killed: removed by the next one, and nothing else is."""

import os
import signal

import pytest

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.scratch import remove_leftovers, scratch
from tests.faults.children import FORK, answer_of, as_nobody, open_folder, run

pytestmark = pytest.mark.skipif(FORK is None, reason="needs fork")

PREFIX = "amsam-x-"


def killed_at_work(prefix, folder):
    with scratch(prefix, folder) as place:
        (place / "upload").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_goes_and_what_a_living_one_holds_stays(tmp_path):
    assert run(killed_at_work, PREFIX, tmp_path) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    with scratch(PREFIX, tmp_path) as held:
        assert held.stat().st_mode & 0o077 == 0  # nobody else reads it
        assert answer_of(remove_leftovers, PREFIX, tmp_path) == [left]
        assert list(tmp_path.iterdir()) == [held]
    assert not list(tmp_path.iterdir())


def test_links_and_folders_without_a_claim_stay(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in (".lock", "work"):
        (other / name).touch()
    (tmp_path / f"{PREFIX}link").symlink_to(other)
    (tmp_path / f"{PREFIX}mine").mkdir()
    assert remove_leftovers(PREFIX, tmp_path) == []
    assert sorted(path.name for path in other.iterdir()) == [".lock", "work"]
    assert (tmp_path / f"{PREFIX}mine").is_dir()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
def test_folders_of_other_users_are_passed_over():
    with open_folder() as folder:
        assert run(killed_at_work, PREFIX, folder) == -signal.SIGKILL
        (left,) = folder.iterdir()
        assert answer_of(as_nobody, remove_leftovers, PREFIX, folder) == []
        assert (left / "upload").is_dir()


def test_two_that_write_one_file_under_one_number_do_not_mix(tmp_path):
    """In containers, processes on several machines have one number."""
    path = tmp_path / "x.txt"
    with whole_file(path) as first:
        first.write_text("the first one", encoding="utf-8")
        with whole_file(path) as second:
            second.write_text("the second one", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "the second one"
    assert path.read_text(encoding="utf-8") == "the first one"
    assert list(tmp_path.iterdir()) == [path]
