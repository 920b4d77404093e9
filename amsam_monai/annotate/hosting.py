"""The page on a local address, with nothing that comes from other hosts."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from amsam_monai.annotate.page import STYLE
from amsam_monai.annotate.queue import THREADS, bound_queue
from amsam_monai.bodies import WholeBodies
from amsam_monai.gate import Gate, GateOptions

logger = logging.getLogger(__name__)

OUTSIDE = re.compile(rb"<(script|link)\b[^>]*\b(?:src|href)=\"https?://[^>]*>(?:\s*</script>)?")
PATIENCE = 5  # seconds that open pages have to take what is on its way when the server ends
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss: data: blob:"


class NothingOutside:
    """ASGI middleware: pages without tags that load from other hosts, and a policy that forbids it.

    Args:
        app: the application that it wraps.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on; HTML answers are collected, mended and sent at once."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held: dict[str, Any] = {}

        async def mend(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [(key, value) for key, value in message["headers"]]
                if any(key.lower() == b"content-type" and value.startswith(b"text/html") for key, value in headers):
                    held.update(start=message, headers=headers, body=b"")
                    return
            elif held:
                held["body"] += message.get("body", b"")
                if message.get("more_body"):
                    return
                body = OUTSIDE.sub(b"", held["body"])
                drop = (b"content-length", b"content-encoding")
                headers = [(key, value) for key, value in held["headers"] if key.lower() not in drop]
                headers += [(b"content-length", str(len(body)).encode()), (b"content-security-policy", POLICY.encode())]
                await send({**held["start"], "headers": headers})
                held.clear()
                await send({"type": "http.response.body", "body": body})
                return
            await send(message)

        await self.app(scope, receive, mend)


def application(page: Any, *, allowed: Sequence[Path] = (), gate: GateOptions | None = None) -> Any:
    """The page as an ASGI application.

    Args:
        page: what `build_page` gave.
        allowed: folders whose files the page may hand out, the output folder.
        gate: who may ask; by default this machine alone, from the page itself.
    """
    from fastapi import FastAPI

    theme = gr.themes.Base(
        primary_hue="sky",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    os.environ["GRADIO_RUN_HISTORY"] = "False"  # which would let a browser have results sent to another host
    page.max_threads = THREADS
    page.queue(default_concurrency_limit=None, api_open=False)
    bound_queue(page)
    app = gr.mount_gradio_app(
        FastAPI(), page, path="/", allowed_paths=[str(folder) for folder in allowed], css=STYLE, theme=theme,
        show_error=True, footer_links=[],
    )  # fmt: skip
    page.has_launched = True  # else Gradio takes any path of this machine as a file that a browser sent
    return Gate(WholeBodies(NothingOutside(app)), gate or GateOptions())


def serve(
    page: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    allowed: Sequence[Path] = (),
    gate: GateOptions | None = None,
) -> None:
    """Serve the page until interrupted.

    Args:
        page: what `build_page` gave.
        host: address to listen on.
        port: port.
        allowed: see `application`.
        gate: see `application`.
    """
    import uvicorn

    app = application(page, allowed=allowed, gate=gate)
    logger.info("amsam annotate on http://%s:%d", host, port)
    try:
        uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=PATIENCE)
    finally:  # a signal is raised anew once the server has ended
        for path in page.tabs.keep_unsaved():
            logger.warning("what was not saved is kept in %s", path)
