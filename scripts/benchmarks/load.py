"""Load on a label server: clients that click, segment, upload and save, beside a training, for some minutes.

amsam label start STUDIES --bundle BUNDLE --queue 4 &
python scripts/benchmarks/load.py --url http://127.0.0.1:8000 --model NAME --label LABEL --image ID --image ID \
    --upload FILE --clients 8 --minutes 3 --server-pid $!

Prints one JSON object: answers by request and status, median and 95 % of their seconds, the longest wait, and the
server's memory after a quarter of the time and at the end. Exits with 1 where an answer is neither 200 nor 429.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import requests
from clicks import resident_mib


class Client(threading.Thread):
    """Asks for one thing after another until the time is over.

    Args:
        args: of the command line.
        number: of the client.
        end: when to stop.
    """

    def __init__(self, args: argparse.Namespace, number: int, end: float) -> None:
        super().__init__(daemon=True)
        self.args, self.number, self.end = args, number, end
        self.rng = np.random.default_rng(number)
        self.answers: list[tuple[str, int | str, float]] = []

    def run(self) -> None:
        kinds = [self.click, self.click, self.click, self.segment, self.upload, self.listing]
        while time.perf_counter() < self.end:
            kind = kinds[int(self.rng.integers(len(kinds)))]
            start = time.perf_counter()
            try:
                status: int | str = kind()
            except requests.RequestException as error:
                status = type(error).__name__
            self.answers.append((kind.__name__, status, time.perf_counter() - start))
            if status == 429:
                time.sleep(1.0)  # as Retry-After says

    def infer(self, model: str, **params: object) -> int:
        image = self.args.image[self.number % len(self.args.image)]
        body = {"params": json.dumps({"client_id": f"load-{self.number}", **params})}
        address = f"{self.args.url}/infer/{model}?image={image}&output=image"
        return requests.post(address, data=body, timeout=600).status_code

    def click(self) -> int:
        point = [int(self.rng.integers(size)) for size in self.args.shape]
        return self.infer(f"{self.args.model}_click", label=self.args.label, foreground=[point], background=[])

    def segment(self) -> int:
        return self.infer(self.args.model)

    def upload(self) -> int:
        with open(self.args.upload, "rb") as file:
            files = {"file": (self.args.upload.name, file)}
            return requests.post(f"{self.args.url}/infer/{self.args.model}", files=files, timeout=600).status_code

    def listing(self) -> int:
        return requests.get(f"{self.args.url}/info/", timeout=600).status_code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True, help="a bundle's name")
    parser.add_argument("--label", required=True, help="class to click")
    parser.add_argument("--image", action="append", required=True, help="id of an image; several are shared out")
    parser.add_argument("--upload", type=Path, required=True, help="an image that clients send")
    parser.add_argument("--shape", type=int, nargs=3, default=(40, 36, 7), help="voxels to click in")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--train", action="store_true", help="start a training of the bundle, over and over")
    parser.add_argument("--server-pid", type=int, help="process whose resident memory, with its children, is watched")
    args = parser.parse_args()
    end = time.perf_counter() + 60 * args.minutes
    clients = [Client(args, number, end) for number in range(args.clients)]
    for client in clients:
        client.start()
    memory: list[int] = []
    trainings = 0
    while any(client.is_alive() for client in clients):
        if args.server_pid:
            memory.append(resident_mib(args.server_pid))
        if args.train and requests.get(f"{args.url}/train/?check_if_running=true", timeout=600).status_code != 200:
            body = {"max_epochs": 2, "steps_per_epoch": 2, "val_split": 0}
            trainings += requests.post(f"{args.url}/train/{args.model}", json=body, timeout=600).status_code == 200
        time.sleep(2)
    answers = [answer for client in clients for answer in client.answers]
    print(
        json.dumps({**told(answers, memory), "clients": args.clients, "minutes": args.minutes, "trainings": trainings})
    )
    sys.exit(int(any(status not in (200, 429) for _, status, _ in answers)))


def told(answers: list[tuple[str, int | str, float]], memory: list[int]) -> dict[str, object]:
    """What a run came to."""
    good = np.array([seconds for _, status, seconds in answers if status == 200])
    refused = [seconds for _, status, seconds in answers if status == 429]
    facts: dict[str, object] = {
        "answers": dict(Counter(f"{kind} {status}" for kind, status, _ in answers)),
        "p50_s": round(float(np.percentile(good, 50)), 2),
        "p95_s": round(float(np.percentile(good, 95)), 2),
        "longest_s": round(float(good.max()), 2),
        "refused_within_s": round(max(refused, default=0.0), 2),
    }
    if memory:
        facts |= {
            "rss_mib_after_quarter": memory[len(memory) // 4],
            "rss_mib_max": max(memory),
            "rss_mib_end": memory[-1],
        }
    return facts


if __name__ == "__main__":
    main()
