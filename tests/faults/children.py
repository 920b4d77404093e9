"""Processes for tests: one that dies at its n-th write, one without rights, one that loses them, one on a full disk."""

import ctypes
import errno
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
NOBODY = 65534
NEW_MOUNTS, PRIVATE = 0x00020000, 0x44000  # of unshare(2); MS_REC | MS_PRIVATE of mount(2)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def run(work, *arguments):
    """The exit code of `work(*arguments)` in a forked process; 1 where it raised, negative where a signal ended it."""
    process = FORK.Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def answer_of(work, *arguments):
    """What `work(*arguments)` gives in a forked process, or the error that it raised."""
    there, here = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_answer, args=(here, work, *arguments))
    process.start()
    here.close()
    answer = there.recv()
    process.join()
    if isinstance(answer, Skip):
        pytest.skip(answer.args[0])
    return answer


class Skip(Exception):  # noqa: N818
    """The system does not let a process do what the test needs."""


def _answer(pipe, work, *arguments):
    try:
        answer = work(*arguments)
    except Exception as error:
        error.__cause__ = error.__context__ = None
        answer = error if isinstance(error, OSError | ValueError | Skip) else RuntimeError(repr(error))
    pipe.send(answer)


def at_write(number, folder, act, work, *arguments):
    """Do the work, and `act()` once, at write `number` (from 0) below the folder, before it is done."""
    start, seen = os.fspath(folder), 0

    def watch(event, facts):
        nonlocal seen
        if event == "open":
            writes = isinstance(facts[2], int) and facts[2] & WRITING
        else:
            writes = event in CHANGES
        if writes and any(os.fspath(one).startswith(start) for one in facts[:2] if isinstance(one, str | os.PathLike)):
            seen += 1
            if seen == number + 1:
                act()

    sys.addaudithook(watch)
    return work(*arguments)


def die_at(number, folder, work, *arguments):
    """Do the work, and be killed at write `number` below the folder."""
    at_write(number, folder, lambda: os.kill(os.getpid(), signal.SIGKILL), work, *arguments)


def end_at(number, folder, work, *arguments):
    """Do the work, and be told to end (SIGTERM) at write `number` below the folder."""
    at_write(number, folder, lambda: os.kill(os.getpid(), signal.SIGTERM), work, *arguments)


def lose_rights_at(number, folder, work, *arguments):
    """Do the work as nobody, who may not write below the folder any more from write `number` on."""

    def shut():
        for one in (folder, *(path for path in Path(folder).rglob("*") if path.is_dir())):
            one.chmod(0o555)

    return as_nobody(at_write, number, folder, shut, work, *arguments)


def give_rights(folder):
    """Make a folder, and let nobody and everybody write below it again."""
    folder.mkdir(exist_ok=True)
    for one in (folder, *folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(one, NOBODY, NOBODY)
        if one.is_dir():
            one.chmod(0o777)


def kill_at_every_write(folder, work, *arguments, step=1, first=0):
    """Run the work again and again, killed one write later each time, until it is done; gives each death's number."""
    for number in range(first, 10_000, step):
        code = run(die_at, number, folder, work, *arguments)
        if code == 0:
            return
        assert code == -signal.SIGKILL, f"write {number} ended the run by itself, exit code {code}"
        yield number


@contextmanager
def open_folder():
    """A folder that every user may enter and write to."""
    folder = Path(tempfile.mkdtemp(prefix="amsam-faults-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def as_nobody(work, *arguments):
    """Do the work without the rights of root, to whom nothing is read-only."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    os.environ["HOME"] = tempfile.gettempdir()
    return work(*arguments)


def on_a_small_disk(size, folder, work, *arguments):
    """Do the work with `folder` on a disk of its own of so many bytes, which nobody else sees."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_MOUNTS) != 0 or libc.mount(b"none", b"/", None, PRIVATE, None) != 0:
        raise Skip("needs the right to mount")
    options = f"size={size}".encode()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) != 0:
        raise Skip(f"needs the right to mount ({errno.errorcode.get(ctypes.get_errno())})")
    return work(*arguments)


def with_little_memory(more, work, *arguments):
    """Do the work in no more than so many bytes beside those that the process has already."""
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return work(*arguments)
