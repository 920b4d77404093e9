"""What clients send comes in whole or not at all, and no more of it than is allowed."""

import asyncio
import json

import pytest

from amsam_monai.bodies import IN_MEMORY, MOST_PLAIN, VOXEL_BYTES, WholeBodies, most_bytes

pytest.importorskip("starlette", reason="needs a server's packages")


def send_through(parts, headers=(), gone=False, **limits):
    """What an application reads of a request that is sent in parts, and the status, headers and words of an answer."""
    read, sent = [], []

    async def application(scope, receive, send):
        more = True
        while more:
            message = await receive()
            read.append(message["body"])
            more = message["more_body"]
        read.append((await receive())["type"])

    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1 or gone}
        for number, part in enumerate(parts)
    ] + [{"type": "http.disconnect"}]

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": [(name.encode(), value.encode()) for name, value in headers]}
    asyncio.run(WholeBodies(application, **limits)(scope, receive, send))
    return read, sent


FILES = [("Content-Type", "multipart/form-data; boundary=x")]


@pytest.mark.parametrize("size", [0, 10, IN_MEMORY + 10])
def test_a_body_is_handed_on_as_it_came_and_then_what_comes_after(size):
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    parts = [content[at : at + 70_000] for at in range(0, size, 70_000)] or [b""]
    read, sent = send_through(parts)
    assert read.pop() == "http.disconnect"
    assert b"".join(read) == content
    assert sent == []


def test_a_client_that_goes_away_is_not_answered():
    assert send_through([b"half"], gone=True) == ([], [])


@pytest.mark.parametrize(
    ("headers", "parts", "limits", "got"),
    [
        ([("Content-Length", "99")], [b"half"], {"most_plain": 50}, "at most 50 bytes, got 99"),
        ([], [b"a" * 30, b"a" * 30, b"a" * 30], {"most_plain": 50}, "at most 50 bytes, got 60"),
        (FILES, [b"a" * 30, b"a" * 30], {"most": 50}, "at most 50 bytes, got 60"),
        ([("Content-Length", str(10**9))], [b""], {}, f"at most {MOST_PLAIN} bytes, got 1000000000"),
    ],
)
def test_what_is_too_much_is_refused_without_being_read_on(headers, parts, limits, got):
    read, (start, body) = send_through(parts, headers, **limits)
    assert read == []
    assert start["status"] == 413
    assert got in json.loads(body["body"])["detail"]


def test_files_may_be_as_large_as_volumes_that_are_read(monkeypatch):
    monkeypatch.setenv("AMSAM_MAX_PIXELS", "1000")
    assert most_bytes() == VOXEL_BYTES * 1000 + MOST_PLAIN
    read, _ = send_through([b"a" * 30, b"a" * 30], FILES)
    assert b"".join(read[:-1]) == b"a" * 60
