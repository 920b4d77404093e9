"""MONAI Label's web server, mended: clicks do not wait for each other, and mistakes are 4xx with a message."""

from __future__ import annotations

import json
from typing import Any

from fastapi import BackgroundTasks, Depends, File, Form, HTTPException, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from monailabel.app import app
from monailabel.config import RBAC_ADMIN, RBAC_USER, settings
from monailabel.endpoints.infer import ResultType, run_inference
from monailabel.endpoints.train import run as run_all
from monailabel.endpoints.train import run_model
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.utils.app import app_instance


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


async def train(
    model: str,
    params: dict[str, Any] | None = None,
    run_sync: bool = False,
    enqueue: bool = False,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN)),
) -> Any:
    """Start training, unless it could only fail."""
    application = app_instance()
    if model not in application._trainers:
        raise HTTPException(404, f"model must be one of {', '.join(application._trainers)}, got {model!r}.")
    await run_in_threadpool(application._trainers[model].check, params or {}, application.datastore())
    return await run_in_threadpool(run_model, model, params, run_sync, enqueue)


async def train_all(
    params: dict[str, Any] | None = None,
    run_sync: bool = False,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN)),
) -> Any:
    """Start training of every bundle, one after another, unless one could only fail."""
    application = app_instance()
    for model, task in application._trainers.items():
        await run_in_threadpool(task.check, (params or {}).get(model) or {}, application.datastore())
    return await run_in_threadpool(run_all, params, run_sync)


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
    """Put our routes before MONAI Label's, and answer for what clients do wrong."""
    start = settings.MONAI_LABEL_API_STR
    for path, answer, summary in (
        (f"{start}/infer/{{model}}", infer, f"{RBAC_USER}Run Inference for supported model"),
        (f"{start}/train/{{model}}", train, f"{RBAC_ADMIN}Run Training Task for specific model"),
        (f"{start}/train/", train_all, f"{RBAC_ADMIN}Run All Training Tasks"),
    ):
        application.add_api_route(path, answer, methods=["POST"], summary=summary)
        application.router.routes.insert(0, application.router.routes.pop())
    for kind in (ValueError, FileNotFoundError, MONAILabelException):
        application.add_exception_handler(kind, client_mistake)
    return application


app = mend(app)
