"""MONAI Label's web server with two things mended: requests do not wait for each other, mistakes are 4xx."""

from __future__ import annotations

import json
from typing import Any

from fastapi import BackgroundTasks, Depends, File, Form, HTTPException, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from monailabel.app import app
from monailabel.config import RBAC_USER, settings
from monailabel.endpoints.infer import ResultType, run_inference
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException


async def infer(
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: str = Form("{}"),
    file: UploadFile = File(None),
    label: UploadFile = File(None),
    output: ResultType | None = None,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)),
) -> Any:
    """Run a model, in a thread of its own."""
    if not file and not image and not session_id:
        raise HTTPException(400, "give an image id, a session id or a file.")
    try:
        if not isinstance(json.loads(params or "{}"), dict):
            raise ValueError(f"got {params[:80]!r}")
    except ValueError as error:
        raise HTTPException(400, f"params must be a JSON object ({error}).") from error
    return await run_in_threadpool(
        run_inference, background_tasks, model, image, session_id, params, file, label, output
    )


def client_mistake(request: Request, error: Exception) -> JSONResponse:
    """A message with the status that fits."""
    status = 400
    if isinstance(error, FileNotFoundError) or "notfound" in type(error).__name__.lower():
        status = 404
    if isinstance(error, MONAILabelException) and error.error == MONAILabelError.SERVER_ERROR:
        status = 500
    message = getattr(error, "msg", "") or str(error)
    return JSONResponse({"detail": message}, status_code=status)


def mend(application: Any) -> Any:
    """Put our route before MONAI Label's, and answer for what clients do wrong."""
    path = f"{settings.MONAI_LABEL_API_STR}/infer/{{model}}"
    application.add_api_route(path, infer, methods=["POST"], summary=f"{RBAC_USER}Run Inference for supported model")
    application.router.routes.insert(0, application.router.routes.pop())
    for kind in (ValueError, FileNotFoundError, MONAILabelException):
        application.add_exception_handler(kind, client_mistake)
    return application


app = mend(app)
