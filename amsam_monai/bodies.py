"""What clients send, taken in whole before anything is done with it, and no more of it than there is room for."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from amsam_monai.data.files.limits import MAX_VOXELS, VARIABLE, allowed

VOXEL_BYTES = 4  # of a voxel in a file that is sent, float32
MOST_PLAIN = 16 * 2**20  # bytes of a body without files
IN_MEMORY = 2**20  # bytes of a body; more of it goes to a file without a name, which ends with the process
CHUNK = 2**18


def most_bytes() -> int:
    """How large what is sent with files may be: a volume of as many voxels as are read, or half the free disk."""
    free = shutil.disk_usage(tempfile.gettempdir()).free // 2
    return min(VOXEL_BYTES * allowed(MAX_VOXELS, None) + MOST_PLAIN, free)


class WholeBodies:
    """ASGI middleware that takes a request's body in first.

    A client that sends slowly holds up nobody, one that sends too much gets 413, and one that goes away leaves nothing.

    Args:
        app: what answers.
        most: bytes of a body with files; by default `most_bytes`, asked for each.
        most_plain: bytes of any other.
    """

    def __init__(self, app: Any, most: int | None = None, most_plain: int = MOST_PLAIN) -> None:
        self.app, self.most, self.most_plain = app, most, most_plain

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Hand on a request that has come in whole."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.concurrency import run_in_threadpool

        most, size, more = self._limit(scope), _declared(scope), True
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as body:
            taken = 0
            while more and size <= most:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                part, more = message.get("body", b""), message.get("more_body", False)
                taken += len(part)
                size = max(size, taken)
                if taken <= IN_MEMORY:
                    body.write(part)
                elif size <= most:
                    await run_in_threadpool(body.write, part)
            if size > most:
                await self._refuse(scope, receive, send, most, size)
                return
            body.seek(0)
            left: int | None = taken

            async def again() -> Any:
                nonlocal left
                if left is None:
                    return await receive()
                part = body.read(CHUNK) if taken <= IN_MEMORY else await run_in_threadpool(body.read, CHUNK)
                left = left - len(part) if left > len(part) else None
                return {"type": "http.request", "body": part, "more_body": left is not None}

            await self.app(scope, again, send)

    def _limit(self, scope: dict[str, Any]) -> int:
        if _header(scope, b"content-type").startswith("multipart/form-data"):
            return most_bytes() if self.most is None else self.most
        return self.most_plain

    async def _refuse(self, scope: dict[str, Any], receive: Any, send: Any, most: int, size: int) -> None:
        from starlette.responses import JSONResponse

        message = (
            f"what is sent must have at most {most} bytes, got {size}; {VARIABLE} of the server raises it for files."
        )
        answer = JSONResponse({"detail": message}, status_code=413, headers={"Connection": "close"})
        await answer(scope, receive, send)


def _declared(scope: dict[str, Any]) -> int:
    """What a request says of its length; 0 where it says nothing."""
    said = _header(scope, b"content-length")
    return int(said) if said.isdigit() else 0


def _header(scope: dict[str, Any], name: bytes) -> str:
    found = (value for key, value in scope["headers"] if key.lower() == name)
    return next(found, b"").decode("latin-1").lower()
