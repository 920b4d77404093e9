"""Shared fixtures: a nano SAM, and where real data and weights are."""

import gc
import os
import threading
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

# tqdm's own lock is shared with forked processes, and one that is killed while it writes a bar never gives it back
tqdm.set_lock(threading.RLock())

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def pytest_collection_finish():
    """Leave out of every garbage collection what was imported; each training ends with one."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _auto_is_float32(monkeypatch):
    """`precision: auto` means float32 here, so that a test gives the same numbers on every processor.

    A test of bfloat16 asks for it by name; CPUs that lack it emulate it.
    """
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)


@pytest.fixture
def one_thread():
    """One thread, as a forked process must have: sums of several differ from it in the last digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def nano_sam():
    """A random SAM of 64 px and a 4 x 4 embedding, always the same."""
    from amsam_monai.networks.sam import build_sam

    torch.manual_seed(0)
    return build_sam("vit_nano", image_size=64)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, or a skip."""
    root = os.environ.get("AMSAM_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("AMSAM_DATA does not name a folder of real data")
    return Path(root)
