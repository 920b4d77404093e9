"""MONAI Label's web server, mended: who may ask is checked, clicks do not wait for each other, mistakes are 4xx."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from monailabel.app import app
from monailabel.config import RBAC_ADMIN, RBAC_ANNOTATOR, RBAC_USER, settings
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.utils.async_tasks.utils import processes, stop_background_task

from amsam_monai.bodies import WholeBodies
from amsam_monai.data.files.atomic import NO_ROOM
from amsam_monai.gate import Gate, GateOptions
from amsam_monai.label_app import endpoints, other_endpoints, session_endpoints
from amsam_monai.label_app.launch import own_folders
from amsam_monai.label_app.temporary import own_temporary_files

logger = logging.getLogger(__name__)


def client_mistake(request: Request, error: Exception) -> JSONResponse:
    """A message with the status that fits."""
    status = 400
    if isinstance(error, FileNotFoundError) or "notfound" in type(error).__name__.lower():
        status = 404
    if isinstance(error, MONAILabelException) and error.error == MONAILabelError.SERVER_ERROR:
        status = 500
    message = getattr(error, "msg", "") or getattr(error, "for_strangers", str(error))
    return JSONResponse({"detail": message}, status_code=status)


def server_trouble(request: Request, error: Exception) -> JSONResponse:
    """What keeps the server from reading or writing its files, without their paths."""
    logger.error("%s", error)
    number, words = getattr(error, "errno", None), str(getattr(error, "strerror", None)).partition(";")[0]
    if number is None:  # another server's
        return JSONResponse({"detail": str(error) or type(error).__name__}, status_code=500)
    if number in NO_ROOM:
        return JSONResponse({"detail": f"the server has no room left ({words}); nothing is kept."}, status_code=507)
    return JSONResponse({"detail": f"the server cannot read or write its files ({words})."}, status_code=500)


def with_an_end(lifespan: Any) -> Any:
    """What an application does from start to end, in folders and with temporary files of its own; no training stays."""

    @asynccontextmanager
    async def whole(application: Any) -> AsyncIterator[Any]:
        with own_folders(settings.MONAI_LABEL_APP_DIR, settings.MONAI_LABEL_STUDIES), own_temporary_files():
            async with lifespan(application) as state:
                yield state
            stop_training()

    return whole


def stop_training() -> None:
    """End the process that trains, where there is one."""
    running = list(processes("train").values())
    if stop_background_task("train") is not None:
        for process in running:
            process.wait()
        logger.warning("the server ends, and the training that ran with it; the weights of before stay")


def mend(application: Any) -> Any:
    """Put our routes before MONAI Label's, answer for what clients do wrong, and let in whom the options name."""
    options = GateOptions.of_environment()
    others = [one for one in application.user_middleware if one.cls is not CORSMiddleware]  # MONAI Label's lets all in
    application.user_middleware = others
    if options.origins:
        application.add_middleware(
            CORSMiddleware, allow_origins=list(options.origins), allow_methods=["*"], allow_headers=["*"]
        )
    application.router.lifespan_context = with_an_end(application.router.lifespan_context)
    application.add_middleware(WholeBodies)
    application.add_middleware(Gate, options=options)  # the last one added is asked first
    start = settings.MONAI_LABEL_API_STR
    for method, path, answer, summary in (
        ("POST", "/infer/{model}", endpoints.infer, f"{RBAC_USER}Run Inference for supported model"),
        ("POST", "/train/{model}", endpoints.train, f"{RBAC_ADMIN}Run Training Task for specific model"),
        ("POST", "/train/", endpoints.train_all, f"{RBAC_ADMIN}Run All Training Tasks"),
        ("PUT", "/datastore/", endpoints.add_image, f"{RBAC_ANNOTATOR}Upload new Image"),
        ("PUT", "/datastore/image", endpoints.add_image, f"{RBAC_ANNOTATOR}Upload new Image"),
        ("POST", "/activelearning/{strategy}", endpoints.next_sample, f"{RBAC_USER}Run Active Learning strategy"),
        ("PUT", "/session/", session_endpoints.create_session, f"{RBAC_USER}Create new session with Image"),
        ("GET", "/session/{session_id}", session_endpoints.session_info, f"{RBAC_USER}Get Session ID"),
        ("DELETE", "/session/{session_id}", session_endpoints.remove_session, f"{RBAC_USER}Delete Session"),
        ("GET", "/datastore/image", endpoints.image_file, f"{RBAC_USER}Download Image"),
        ("GET", "/datastore/label", endpoints.label_file, f"{RBAC_USER}Download Label"),
        ("PUT", "/datastore/image/info", endpoints.image_info, f"{RBAC_ANNOTATOR}Update Image Info"),
        ("PUT", "/datastore/label", endpoints.save_label, f"{RBAC_ANNOTATOR}Save Finished Label"),
        ("PUT", "/datastore/label/info", endpoints.label_info, f"{RBAC_ANNOTATOR}Update Label Info"),
        (
            "PUT",
            "/datastore/updatelabelinfo",
            other_endpoints.label_info_of_before,
            f"{RBAC_ANNOTATOR}Update Label Info",
        ),
        ("GET", "/ohif/{path:path}", other_endpoints.viewer, f"{RBAC_USER}Get OHIF"),
        ("GET", "/datastore/dataset", other_endpoints.dataset, f"{RBAC_ANNOTATOR}Download full dataset as ZIP archive"),
        ("GET", "/proxy/dicom/{path:path}", other_endpoints.proxy, "Ask the DICOMweb server"),
        ("POST", "/proxy/dicom/{path:path}", other_endpoints.proxy, "Ask the DICOMweb server"),
        *((method, path, other_endpoints.nothing, "Shut") for method, path in other_endpoints.SHUT),
    ):
        application.add_api_route(start + path, answer, methods=[method], summary=summary)
        application.router.routes.insert(0, application.router.routes.pop())
    for kind in (ValueError, OverflowError, FileNotFoundError, shutil.ReadError, MONAILabelException):
        application.add_exception_handler(kind, client_mistake)
    application.add_exception_handler(OSError, server_trouble)  # of those above, the nearer one answers
    return application


app = mend(app)
