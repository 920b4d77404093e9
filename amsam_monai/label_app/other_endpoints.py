"""MONAI Label's further addresses: those that are shut, and those that are mended (archive, proxy, label info)."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import unquote

from fastapi import Depends, Form, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from monailabel.config import settings
from monailabel.endpoints import datastore as studies
from monailabel.endpoints import ohif
from monailabel.endpoints.proxy import proxy_dicom
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import remove_file
from starlette.background import BackgroundTask

from amsam_monai.label_app.endpoints import json_object

# Nothing that is served here needs them: they put files into the app, leave what a client sent on the disk, or start
# processes with whatever a client says in their command lines.
SHUT = (
    ("PUT", "/model/{model}"),
    ("DELETE", "/model/{model}"),
    ("POST", "/infer/wsi/{model}"),
    ("POST", "/infer/wsi_v2/{model}"),
    ("POST", "/reload"),
    ("POST", "/batch/infer/{model}"),
    ("POST", "/scoring/"),
    ("POST", "/scoring/{method}"),
)
WAYS = ("wado", "qido", "stow")


async def nothing() -> Any:
    """Answer at an address that is shut.

    Raises:
        HTTPException: 404.
    """
    raise HTTPException(404, "this server does not offer that.")


async def dataset(
    limit_cases: int | None = None,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR)),
) -> Any:
    """Hand out all labelled cases as a zip file, which goes once it is sent."""
    path = await run_in_threadpool(app_instance().datastore().get_dataset_archive, limit_cases)
    background = BackgroundTask(remove_file, path)
    return FileResponse(path, media_type="application/zip", filename="dataset.zip", background=background)


async def viewer(path: str, user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))) -> Any:
    """Hand out a file of OHIF; what is none, a folder too, is its page."""
    folder = os.path.join(os.path.dirname(ohif.__file__), "static", "ohif")
    return ohif.get_ohif("" if os.path.isdir(os.path.join(folder, path.replace("/", os.pathsep))) else path)


async def label_info_of_before(
    label: str,
    tag: str,
    params: str = Form("{}"),
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR)),
) -> Any:
    """Change what is known of a label, at the address of older clients."""
    json_object(params, kept=True)
    return studies.update_label_info(label, tag, params, user.username)


async def proxy(request: Request, path: str, user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))) -> Any:
    """Ask the DICOMweb server that the studies are on, below its address, in a thread of its own.

    Raises:
        HTTPException: 404, the studies are a folder; 400, the path leads out of the DICOMweb address.
    """
    if not settings.MONAI_LABEL_STUDIES.startswith(("http://", "https://")):
        raise HTTPException(404, "the studies are a folder; there is no DICOMweb server to ask.")
    if leads_out(path):
        raise HTTPException(400, "a path must lead to something below the DICOMweb address.")
    await request.body()  # kept with the request, so that the thread need not wait for it
    way, _, rest = path.partition("/")
    op, rest = (way, rest) if way in WAYS else ("", path)
    return await run_in_threadpool(lambda: asyncio.run(proxy_dicom(request, op, rest)))


def leads_out(path: str) -> bool:
    """Whether a path, however often it is quoted, has a part that leads to a parent, or is a whole address."""
    before = ""
    while before != path:
        before, path = path, unquote(path)
    parts = path.replace("\\", "/").split("/")
    return ".." in parts or "://" in path or path.startswith("/") or any(letter in path for letter in "\r\n@")
