"""Load on the label server and on the web page: clients that click, segment, upload and save, beside a training.

amsam label start STUDIES --bundle BUNDLE --queue 4 --port 8000 & LABEL=$!
amsam annotate CASES --bundle BUNDLE --port 7860 & PAGE=$!
python scripts/benchmarks/load.py --url http://127.0.0.1:8000 --model NAME --label CLASS --image ID --image ID \
    --page http://127.0.0.1:7860 --upload FILE --train --clients 8 --minutes 30 --label-pid $LABEL --page-pid $PAGE

Either server may be left out. Some further clients (--slow) send half of a request and wait. Prints two tables in
Markdown: answers of each server with their seconds, and its memory after a quarter of the time, at most and at the end.
Exits with 1 where an answer is neither good nor 429, or where memory has grown by more than a tenth since the quarter.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import requests
from clicks import resident_mib
from load_clients import WAIT, Client, LabelClient, PageClient

GROWTH = 1.1
LOOK = 2.0  # seconds between two looks at the memory
TRAINING = {"max_epochs": 2, "steps_per_epoch": 2, "val_split": 0}


def main() -> None:
    args = parse()
    end = time.monotonic() + 60 * args.minutes
    clients: dict[str, Sequence[Client]] = {}
    if args.url:
        how = {"url": args.url, "model": args.model, "label": args.label, "images": args.image}
        rest = {"upload": args.upload, "shape": args.shape}
        clients["label server"] = [LabelClient(number, end, **how, **rest) for number in range(args.clients)]
    if args.page:
        clients["page"] = [PageClient(number, end, url=args.page, upload=args.upload) for number in range(args.clients)]
    pids = {"label server": args.label_pid, "page": args.page_pid}
    memory: dict[str, list[int]] = {name: [] for name in clients if pids[name]}
    waiting = [half_sent(address) for address in (args.url, args.page) if address for _ in range(args.slow)]
    everybody = [client for group in clients.values() for client in group]
    for client in everybody:
        client.start()
    trainings = 0
    while any(client.is_alive() for client in everybody):
        for name, found in memory.items():
            found.append(resident_mib(pids[name]))
        if args.train and time.monotonic() < end:
            trainings += start_training(args.url, args.model)
        time.sleep(LOOK)
    for connection in waiting:
        connection.close()
    answers = {name: [answer for client in group for answer in client.answers] for name, group in clients.items()}
    asked = f"{args.clients} clients of each for {args.minutes:g} minutes, {args.slow} slow ones"
    print(f"{asked}, {trainings} trainings\n\n{answer_table(answers)}\n\n{memory_table(memory)}")
    wrong = any(status not in (200, 429) for group in answers.values() for _, status, _ in group)
    sys.exit(int(wrong or any(grew(found) for found in memory.values())))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="address of the label server")
    parser.add_argument("--model", help="a bundle's name")
    parser.add_argument("--label", help="class to click")
    parser.add_argument("--image", action="append", help="id of an image; several are shared out")
    parser.add_argument("--page", help="address of the page")
    parser.add_argument("--upload", type=Path, required=True, help="an image that clients send")
    parser.add_argument("--shape", type=int, nargs=3, default=(40, 36, 7), help="voxels to click in")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--slow", type=int, default=4, help="clients that send half of a request and wait")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--train", action="store_true", help="start a training of the bundle, over and over")
    parser.add_argument("--label-pid", type=int, help="process whose resident memory, with its children, is watched")
    parser.add_argument("--page-pid", type=int, help="the same of the page")
    args = parser.parse_args()
    if args.url and not (args.model and args.label and args.image):
        parser.error("--url must come with --model, --label and --image.")
    if not args.url and not args.page:
        parser.error("--url or --page must be given.")
    if args.train and not args.url:
        parser.error("--train must come with --url.")
    return args


def start_training(url: str, model: str) -> bool:
    """Start a training where none runs; whether one was started."""
    if requests.get(f"{url}/train/?check_if_running=true", timeout=WAIT).status_code == 200:
        return False
    return requests.post(f"{url}/train/{model}", json=TRAINING, timeout=WAIT).status_code == 200


def half_sent(address: str) -> http.client.HTTPConnection:
    """A client that begins to send and waits."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Type", "application/x-www-form-urlencoded")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"params=")
    return connection


def answer_table(answers: dict[str, list[tuple[str, int | str, float]]]) -> str:
    """What was answered, by server and question; seconds are of good answers."""
    rows = ["| server | asked for | good | 429 | other | median s | 95 % s | longest s |", "|---|---|" + "--:|" * 6]
    for name, group in answers.items():
        for kind in [*dict.fromkeys(kind for kind, _, _ in group), "all"]:
            chosen = [answer for answer in group if kind in (answer[0], "all")]
            good = [seconds for _, status, seconds in chosen if status == 200]
            counts = Counter(status for _, status, _ in chosen)
            other = "; ".join(f"{count} {status}" for status, count in counts.items() if status not in (200, 429))
            times = [f"{np.percentile(good, part):.2f}" if good else "" for part in (50, 95, 100)]
            cells = [name, kind, str(counts[200]), str(counts[429]), other or "0", *times]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def memory_table(memory: dict[str, list[int]]) -> str:
    """Resident memory of each server with its children."""
    rows = ["| server | MiB after a quarter | at most after that | at the end |", "|---|--:|--:|--:|"]
    for name, found in memory.items():
        later = found[len(found) // 4 :]
        rows.append(f"| {name} | {later[0]} | {max(later)} | {later[-1]} |")
    return "\n".join(rows)


def grew(found: Sequence[int]) -> bool:
    """Whether the last quarter holds a tenth more memory than the second one, by their least (no training)."""
    quarter = max(len(found) // 4, 1)
    return min(found[-quarter:]) > GROWTH * min(found[quarter : 2 * quarter], default=0) > 0


if __name__ == "__main__":
    main()
