"""Images that clients send for themselves alone: found by their id, and looked at before they are unpacked."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from typing import Any

from fastapi import HTTPException, UploadFile

from amsam_monai.data.files.limits import MAX_VOXELS, allowed

SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_ENTRIES = 100_000  # of an archive


def session_of(application: Any, session_id: str) -> Any:
    """What a client sent for itself alone; its id is no path, which could lead to notes that another client wrote.

    Raises:
        HTTPException: 404, there is no such session.
    """
    sessions = application.sessions()
    opened = sessions.get_session(session_id) if sessions and SESSION.fullmatch(session_id) else None
    if opened is None:
        raise HTTPException(404, "there is no such session; make one with PUT /session/.")
    return opened


def check_archive(file: UploadFile) -> None:
    """Refuse an archive that unpacks to more than an image may hold, before it is unpacked.

    What unpacks it goes by its name, and other kinds (tar) could put files anywhere.

    Raises:
        HTTPException: 400, it is no zip; 413, it declares too much.
    """
    if not (file.filename or "").endswith(".zip"):
        raise HTTPException(400, f"an archive must be a zip file, whose name ends in .zip, got {file.filename!r}.")
    try:
        with zipfile.ZipFile(file.file) as archive:
            entries = archive.infolist()
            declared = sum(entry.file_size for entry in entries)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise HTTPException(400, f"an archive must be a zip file ({error}).") from error
    finally:
        file.file.seek(0)
    most = min(2 * allowed(MAX_VOXELS, None), shutil.disk_usage(tempfile.gettempdir()).free // 2)
    if declared > most:
        raise HTTPException(413, f"an archive must unpack to at most {most} bytes, declares {declared}.")
    if len(entries) > MOST_ENTRIES:
        raise HTTPException(413, f"an archive must hold at most {MOST_ENTRIES} files, got {len(entries)}.")
