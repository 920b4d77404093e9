"""The machine: processors, GPUs, memory, folders that are written to, and ports."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from amsam_monai.data.embeddings.folder import cache_folder
from amsam_monai.doctor.check import Check
from amsam_monai.networks.weights.store import weights_dir

GIB = 2**30
LEAST_MEMORY = 4  # GiB, for a training on a laptop
LEAST_DISK = 2  # GiB free
PORTS = {"amsam annotate": 7860, "amsam label start": 8000}


def devices() -> Iterator[Check]:
    """Processors with what they compute in, GPUs, and memory."""
    import torch

    from amsam_monai.segment.autocast import has_bfloat16

    words = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}; "
    words += (
        "computes in bfloat16"
        if has_bfloat16(torch.device("cpu"))
        else "--precision auto takes float32, as it has no bfloat16"
    )
    yield Check("machine", "processor", "ok", words)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB if hasattr(os, "sysconf") else None
    if memory is not None:
        mend = "" if memory >= LEAST_MEMORY else f"segmenting may work; training needs {LEAST_MEMORY} GiB"
        yield Check("machine", "memory", "ok" if not mend else "optional", f"{memory:.1f} GiB", mend)
    if not torch.cuda.is_available():
        yield Check("machine", "GPU", "optional", "none that torch can use; all works on the processor, but slower")
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        yield Check("machine", f"cuda:{number}", "ok", f"{card.name}, {card.total_memory / GIB:.0f} GiB")


def folders() -> Iterator[Check]:
    """Whether the folders of weights, embeddings and temporary files can be written to and have room."""
    places = {
        "weights": (weights_dir(), "AMSAM_WEIGHTS"),
        "embeddings": (cache_folder(), "AMSAM_CACHE"),
        "temporary files": (Path(tempfile.gettempdir()), "TMPDIR"),
    }
    for name, (folder, variable) in places.items():
        yield _folder(name, folder, variable)


def _folder(name: str, folder: Path, variable: str) -> Check:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        words = f"{folder}: cannot be written to ({error.strerror})"
        return Check("folders", name, "failed", words, f"set {variable} to a folder of yours")
    free = shutil.disk_usage(there).free / GIB
    if free < LEAST_DISK:
        mend = f"free at least {LEAST_DISK} GiB, or set {variable} to a folder elsewhere"
        return Check("folders", name, "failed", f"{folder}: {free:.1f} GiB free", mend)
    return Check("folders", name, "ok", f"{folder}, {free:.0f} GiB free")


def ports() -> Iterator[Check]:
    """Whether the servers' usual ports are free."""
    for command, port in PORTS.items():
        with socket.socket() as door:
            try:
                door.bind(("127.0.0.1", port))
            except OSError:
                words = f"port {port} is taken by another program"
                yield Check("ports", command, "optional", words, f"choose another: {command} --port {port + 1}")
            else:
                yield Check("ports", command, "ok", f"port {port} is free")
