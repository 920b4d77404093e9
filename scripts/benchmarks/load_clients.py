"""Clients of the label server and of the web page, for `load.py`: each asks for one thing after another."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import requests

WAIT = 600  # seconds after which a client gives up


class Client(threading.Thread):
    """Asks for one thing after another until the time is over.

    Args:
        number: of the client.
        end: when to stop, as time.monotonic counts.
    """

    def __init__(self, number: int, end: float) -> None:
        super().__init__(daemon=True)
        self.number, self.end = number, end
        self.rng = np.random.default_rng(number)
        self.answers: list[tuple[str, int | str, float]] = []

    def kinds(self) -> list[Callable[[], int | str]]:
        """What it asks for, the frequent more than once."""
        raise NotImplementedError

    def begin(self) -> None:
        """What comes before the first question."""

    def run(self) -> None:
        self.begin()
        kinds = self.kinds()
        while time.monotonic() < self.end:
            kind = kinds[int(self.rng.integers(len(kinds)))]
            start = time.monotonic()
            try:
                status: int | str = kind()
            except requests.RequestException as error:
                status = type(error).__name__
            self.answers.append((kind.__name__, status, time.monotonic() - start))
            if status == 429:
                time.sleep(1.0)  # as Retry-After says


class LabelClient(Client):
    """A client of the label server: clicks, segments, uploads, lists.

    Args:
        number: of the client.
        end: when to stop.
        url: of the server.
        model: a bundle's name.
        label: class to click.
        images: ids, shared out.
        upload: an image to send.
        shape: voxels to click in.
    """

    def __init__(
        self, number: int, end: float, *, url: str, model: str, label: str, images: list[str], upload: Path, shape: Any
    ) -> None:
        super().__init__(number, end)
        self.url, self.model, self.label, self.file, self.shape = url, model, label, upload, shape
        self.image = images[number % len(images)]

    def kinds(self) -> list[Callable[[], int | str]]:
        return [self.click, self.click, self.click, self.segment, self.upload, self.listing]

    def infer(self, model: str, **params: object) -> int:
        body = {"params": json.dumps({"client_id": f"load-{self.number}", **params})}
        address = f"{self.url}/infer/{model}?image={self.image}&output=image"
        return requests.post(address, data=body, timeout=WAIT).status_code

    def click(self) -> int:
        point = [int(self.rng.integers(size)) for size in self.shape]
        return self.infer(f"{self.model}_click", label=self.label, foreground=[point], background=[])

    def segment(self) -> int:
        return self.infer(self.model)

    def upload(self) -> int:
        with self.file.open("rb") as file:
            files = {"file": (self.file.name, file)}
            return requests.post(f"{self.url}/infer/{self.model}", files=files, timeout=WAIT).status_code

    def listing(self) -> int:
        return requests.get(f"{self.url}/info/", timeout=WAIT).status_code


class PageClient(Client):
    """A browser tab of `amsam annotate`: opens a case, clicks, saves, sends a file.

    Args:
        number: of the client.
        end: when to stop.
        url: of the page.
        upload: an image to send.
    """

    def __init__(self, number: int, end: float, *, url: str, upload: Path) -> None:
        super().__init__(number, end)
        self.url, self.file, self.tab = url, upload, f"load-{number}"

    def kinds(self) -> list[Callable[[], int | str]]:
        return [self.click, self.click, self.click, self.click, self.save, self.open, self.upload]

    def begin(self) -> None:
        config = requests.get(f"{self.url}/config", timeout=WAIT).json()
        parts = {one["props"].get("elem_id"): one for one in config["components"]}
        self.cases = [choice[1] for choice in parts["case"]["props"]["choices"]]
        self.actions = {one["api_name"]: one["id"] for one in config["dependencies"]}
        relay = parts["relay"]["id"]
        self.mouse = next(one["api_name"] for one in config["dependencies"] if relay in one["inputs"])
        self.open()

    def act(self, name: str, *data: object) -> int | str:
        """Ask for an action, and read what the page says until it is done."""
        body = {"data": data, "fn_index": self.actions[name], "session_hash": self.tab, "trigger_id": None}
        joined = requests.post(f"{self.url}/gradio_api/queue/join", json=body, timeout=WAIT)
        if joined.status_code != 200:
            return joined.status_code
        address = f"{self.url}/gradio_api/queue/data?session_hash={self.tab}"
        with requests.get(address, stream=True, timeout=WAIT) as stream:
            for line in stream.iter_lines(chunk_size=2**16):
                said = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
                if said.get("msg") == "process_completed":
                    return self.judged(said)
                if said.get("msg") in ("unexpected_error", "close_stream"):
                    break
        return "no answer"

    def judged(self, said: dict[str, Any]) -> int | str:
        """200, or what went wrong in words of the page."""
        if not said["success"]:
            return f"failed: {str(said['output'].get('error'))[:60]}"
        warnings = [one for one in said["output"]["data"] if isinstance(one, str) and one.startswith("⚠")]
        return f"warning: {warnings[0][:60]}" if warnings else 200

    def open(self) -> int | str:
        return self.act("open_case", self.cases[int(self.rng.integers(len(self.cases)))])

    def click(self) -> int | str:
        place = [float(share) for share in self.rng.uniform(0.2, 0.8, 2)]
        event = {"view": "main-view", "from": place, "to": None, "at": time.monotonic_ns()}
        return self.act(self.mouse, json.dumps(event))

    def save(self) -> int | str:
        return self.act("save_case", "NIfTI")

    def upload(self) -> int | str:
        with self.file.open("rb") as file:
            files = {"files": (f"load-{self.number}-{self.file.name}", file)}
            sent = requests.post(f"{self.url}/gradio_api/upload", files=files, timeout=WAIT)
        if sent.status_code != 200:
            return sent.status_code
        (path,) = sent.json()
        value = {"path": path, "orig_name": self.file.name, "meta": {"_type": "gradio.FileData"}}
        answer = self.act("upload_case", value)
        return self.act("open_case", path) if answer == 200 else answer
