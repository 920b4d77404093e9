"""The two tasks of a bundle: automatic, and by clicks."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from amsam_monai.label_app.results import ResultFormat, write_result
from amsam_monai.label_app.service import Answer, BundleService

BACKGROUND = "background"  # its value is one that no class has: of 0 OHIF makes the place in its list


class AutomaticInfer(InferTask):
    """A bundle's automatic segmentation ("segmentation")."""

    def __init__(self, service: BundleService, labels: dict[str, int], dimension: int, description: str) -> None:
        super().__init__(InferType.SEGMENTATION, labels, dimension, description)
        self.service = service

    def is_valid(self) -> bool:
        """Whether the bundle has weights."""
        return self.service.weights.is_file()

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """The label map's file, and what goes beside it."""
        return respond(request, lambda path: self.service.segment(client_of(request), path))


class InteractiveInfer(InferTask):
    """A bundle's answer to clicks and boxes.

    With one class of the type "deepgrow": points for and against it. With several of the type "deepedit": both viewers
    send a list of points under each class's name, and under "background"; OHIF names no class for "deepgrow".
    """

    def __init__(self, service: BundleService, labels: dict[str, int], dimension: int, description: str) -> None:
        config = {"propagate": False, "automatic_points": True}
        several = len(labels) > 1
        kind = InferType.DEEPEDIT if several else InferType.DEEPGROW
        free = max({*range(1, 255)} - set(labels.values()))
        shown = {**labels, BACKGROUND: free} if several else list(labels)
        super().__init__(kind, shown, dimension, description, config)
        self.service = service

    def is_valid(self) -> bool:
        """Whether the bundle has weights."""
        return self.service.weights.is_file()

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """The label map's file, and what goes beside it."""
        return respond(request, lambda path: self.service.click(client_of(request), path, request))


def client_of(request: dict[str, Any]) -> str:
    """Who asks: the session, or the client's id; clients that send neither share what they do to an image."""
    session = request.get("session")
    if isinstance(session, dict) and session.get("name"):
        return f"session {session['name']}"
    return str(request.get("client_id") or "")


def respond(request: dict[str, Any], answer_of: Any) -> tuple[str | None, dict[str, Any]]:
    """Run a task; a client's mistakes become 4xx with a message."""
    path = request.get("image")
    if not path:
        raise HTTPException(404, "there is no such image in the studies; list them with GET /datastore/?output=all.")
    try:
        answer: Answer = answer_of(path)
        source = answer.session.image.source
        file = write_result(answer.label, source, answer.names, ResultFormat.of_request(request))
    except FileNotFoundError as error:
        raise HTTPException(404, str(error)) from error
    except (ValueError, TypeError) as error:
        raise HTTPException(400, getattr(error, "for_strangers", str(error))) from error
    return str(file), answer.params
