"""Our answers at MONAI Label's addresses of sessions: an image for a client alone."""

from __future__ import annotations

import os
from typing import Any

from fastapi import BackgroundTasks, Depends, File, HTTPException, UploadFile
from fastapi.concurrency import run_in_threadpool
from monailabel.config import settings
from monailabel.endpoints import session
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from amsam_monai.label_app.client_sessions import check_archive, session_of
from amsam_monai.label_app.endpoints import check_file_name


async def create_session(
    background_tasks: BackgroundTasks,
    uncompress: bool = False,
    expiry: int = 0,
    files: list[UploadFile] = File(...),
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)),
) -> Any:
    """Take an image for a client alone, which may come as a zip of DICOM files."""
    for file in files:
        check_file_name(file)
        if uncompress:
            check_archive(file)
    return await run_in_threadpool(session.create_session, background_tasks, uncompress, expiry, files)


async def session_info(
    session_id: str,
    update_ts: bool = False,
    image: bool = False,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)),
) -> Any:
    """Tell of a client's session, or hand its image out.

    Raises:
        HTTPException: 404, there is no such session; 400, its image is a folder of files.
    """
    opened = await run_in_threadpool(session_of, app_instance(), session_id)
    if image and os.path.isdir(opened.image):
        raise HTTPException(400, "the session holds a folder of files, which is not handed out.")
    return await run_in_threadpool(session.get_session, session_id, update_ts, image)


async def remove_session(session_id: str, user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))) -> Any:
    """Remove a client's session.

    Raises:
        HTTPException: 404, there is no such session.
    """
    await run_in_threadpool(session_of, app_instance(), session_id)
    return await run_in_threadpool(session.remove_session, session_id)
