"""How long a click takes: p50 and p95 of `InteractiveSession` on a warm slice, and over HTTP with --url.

python scripts/benchmarks/clicks.py                                    a MobileSAM at 512 px, random clicks
python scripts/benchmarks/clicks.py --bundle DIR                       a bundle's network
python scripts/benchmarks/clicks.py --against DIR                      in turn with the code of another checkout
python scripts/benchmarks/clicks.py --url http://127.0.0.1:8000 --model NAME --image ID --clients 8 --seconds 120
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from sides import tell


def main() -> None:
    turns = argparse.ArgumentParser(add_help=False)
    turns.add_argument("--against", type=Path, metavar="DIR", help="another checkout, clicked in turn with this one")
    turns.add_argument("--rounds", type=int, default=3, help="with --against: of each")
    turns.add_argument("--out", type=Path, help="JSON of all clicks")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[turns]
    )
    parser.add_argument("--bundle", help="folder of a bundle; default: AM-SAM on MobileSAM, not trained")
    parser.add_argument("--weights", default="mobile_sam", help="weights of the default network; 'none': random")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--classes", type=int, default=1)
    parser.add_argument("--no-flips", action="store_true", help="leave the bundle's mirror images out")
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--url", help="measure a MONAI Label server instead")
    parser.add_argument("--model", help="model of the server, a bundle's interactive one")
    parser.add_argument("--label", help="class to click; may be left out where there is only one")
    parser.add_argument("--server-pid", type=int, help="process whose resident memory, with its children, is watched")
    parser.add_argument("--image", action="append", help="image id of the server; several are shared by the clients")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 16), help="voxels to click in")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0, help="how long each client clicks; 0: --clicks times")
    args = parser.parse_args()
    if args.against:
        compare(args, turns.parse_known_args()[1])
        return
    seconds, facts = over_http(args) if args.url else in_process(args)
    report(seconds, facts)
    if args.out:
        tell({"a click": {"warm": seconds}}, args.out, **facts)


def report(seconds: list[float], facts: dict[str, object]) -> None:
    """Print p50 and p95 in milliseconds."""
    milliseconds = np.array(seconds) * 1000
    quantiles = {f"p{q}_ms": round(float(np.percentile(milliseconds, q)), 1) for q in (50, 95)}
    print(json.dumps({**facts, "clicks": len(seconds), **quantiles}))


def compare(args: argparse.Namespace, others: list[str]) -> None:
    """Clicks of this checkout and of another, with the `others` of the options, in processes of their own."""
    sides = {"this checkout": Path(__file__).parents[2], "the other": args.against.resolve()}
    times: dict[str, list[float]] = {who: [] for who in sides}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for who, checkout in sides.items():
                out = Path(folder, "clicks.json")
                command = [sys.executable, __file__, *others, "--out", str(out)]
                subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(checkout)})
                times[who] += json.loads(out.read_text(encoding="utf-8"))["seconds"]["a click"]["warm"]
    tell({"a click": times}, args.out, threads=args.threads)


def in_process(args: argparse.Namespace) -> tuple[list[float], dict[str, object]]:
    """Clicks on one slice of a session; the embedding is there before the first counts."""
    import torch

    from amsam_monai.session.session import InteractiveSession

    torch.set_num_threads(args.threads)
    if args.bundle:
        from amsam_monai.bundles.load import load_bundle

        bundle = load_bundle(args.bundle)
        slices = {**bundle.slices, "flips": ()} if args.no_flips else bundle.slices
        session = InteractiveSession.of_bundle(bundle, slices=slices)
    else:
        from amsam_monai.networks.sam import build_sam
        from amsam_monai.networks.systems.amsam import AMSAM

        weights = None if args.weights == "none" else args.weights
        sam = build_sam("vit_t", image_size=args.image_size, weights=weights)
        session = InteractiveSession(AMSAM(sam, num_classes=args.classes))
    rng = np.random.default_rng(0)
    session.open(rng.integers(0, 255, tuple(args.shape)).astype(np.int16), affine=np.diag([1.0, 1.0, 5.0, 1.0]))
    start = time.perf_counter()
    for turn in session.answers.turns:
        session.answers.embedding(3, turn)
    facts = {
        "images": len(session.answers.turns),
        "encode_ms": round((time.perf_counter() - start) * 1000),
        "classes": len(session.labels),
    }
    session.segment(3)
    seconds = []
    for click in range(args.clicks + 3):
        if click % 10 == 0:
            session.clear()
        i, j = rng.integers(0, session.image.voxel_shape[0]), rng.integers(0, session.image.voxel_shape[1])
        start = time.perf_counter()
        session.add_point(1, (i, j, 3), positive=click % 3 < 2)
        session.segment(3)
        seconds.append(time.perf_counter() - start)
    return seconds[3:], {"threads": args.threads, **facts}


def over_http(args: argparse.Namespace) -> tuple[list[float], dict[str, object]]:
    """Clicks of several clients, each on a slice that is warm for it."""
    seconds: list[float] = []
    errors: list[str] = []
    clients = [
        threading.Thread(target=click_away, args=(args, number, seconds, errors)) for number in range(args.clients)
    ]
    for client in clients:
        client.start()
    memory = []
    while any(client.is_alive() for client in clients):
        if args.server_pid:
            memory.append(resident_mib(args.server_pid))
        time.sleep(2)
    facts: dict[str, object] = {"clients": args.clients, "errors": len(errors), "first_error": errors[:1]}
    if memory:  # the first quarter holds opening and encoding
        facts |= {
            "rss_mib_after_quarter": memory[len(memory) // 4],
            "rss_mib_max": max(memory),
            "rss_mib_end": memory[-1],
        }
    return seconds, facts


def resident_mib(pid: int) -> int:
    """Resident memory of a process and its children, in MiB (Linux)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return own // 1024 + sum(resident_mib(int(child)) for child in children)


def click_away(args: argparse.Namespace, number: int, seconds: list[float], errors: list[str]) -> None:
    """One client: opens its image with a first click, then clicks and notes how long each took."""
    import requests

    rng = np.random.default_rng(number)
    image = args.image[number % len(args.image)]
    address = f"{args.url.rstrip('/')}/infer/{args.model}?image={image}&output=image"
    depth = number % args.shape[2]
    end, count = None, 0
    while (time.perf_counter() < end) if end and args.seconds else count <= args.clicks:
        point = [int(rng.integers(0, args.shape[0])), int(rng.integers(0, args.shape[1])), depth]
        params = {"foreground": [point], "background": [], "client_id": f"bench-{number}", "result_extension": ".nrrd"}
        if args.label:
            params["label"] = args.label
        start = time.perf_counter()
        answer = requests.post(address, data={"params": json.dumps(params)}, timeout=300)
        if answer.status_code != 200:
            errors.append(f"{answer.status_code} {answer.text[:200]}")
        elif end:
            seconds.append(time.perf_counter() - start)
        end = end or time.perf_counter() + args.seconds
        count += 1


if __name__ == "__main__":
    main()
