"""Tasks of one's own, a few labelled cases each: `amsam train`, its methods one by one, a U-Net and nnU-Net v2.

    AMSAM_DATA=DIR python scripts/bench_own.py --out runs/own
    AMSAM_DATA=DIR python scripts/bench_own.py --tasks hippocampus --rows unet nnunet_3d --minutes 10 --out runs/own

All rows train for the same minutes on the same cases and are scored on the same test cases: strict Dice at native size.
None of them has seen the task: rows start from MobileSAM, ImageNet or random weights. Planning of nnU-Net is not
counted, nor is prediction. Each run is one JSON file in --out/runs; what is there is not run again, and a row that
fails is told and tried again by the next call. Writes table.md. One --out holds runs of one budget.

nnU-Net runs in an environment of its own, which uv makes at the first call (a few gigabytes).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from benchmarks.own.clock import CLOCKS
from benchmarks.own.process import CommandError
from benchmarks.own.rows import RIVALS, ROWS, SEEDS, Run
from benchmarks.own.table import make_table
from benchmarks.own.tasks import Task, read_tasks

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.evaluation.scoring.case_scores import available_cores

REPOSITORY = Path(__file__).parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for and write the table; 1 where a row failed."""
    options = parser().parse_args(arguments)
    data = options.data or Path(os.environ.get("AMSAM_DATA", "."))
    tasks = read_tasks(options.task_file or data / "own_tasks.json", data, options.tasks, test_limit=options.test_limit)
    keep_budget(options)
    failed = 0
    for task in tasks:
        for row in options.rows:
            if ROWS[row].volumes_only and not is_volumes(task):
                continue
            for seed in options.seeds or SEEDS.get(row, (0,)):
                failed += not run_once(task, row, seed, options)
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((options.out / "runs").glob("*.json"))]
    if results:
        text = make_table(results, list(ROWS), RIVALS)
        (options.out / "table.md").write_text(text, encoding="utf-8")
        print(text)
    return int(failed > 0)


def parser() -> argparse.ArgumentParser:
    """Options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--data", type=Path, help="folder of the tasks' data sets, default $AMSAM_DATA")
    found.add_argument("--task-file", type=Path, help="default own_tasks.json in it")
    found.add_argument("--tasks", nargs="+", metavar="TASK", help="default: all of the file")
    found.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    found.add_argument("--seeds", nargs="+", type=int, help="default: 0 1 2 of the command, 0 of the others")
    found.add_argument("--minutes", type=float, default=30.0, help="of training, for every row")
    found.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: on a machine that others use too")
    found.add_argument("--threads", type=int, default=available_cores())
    found.add_argument("--test-limit", type=int, metavar="N", help="score N test cases of each task")
    found.add_argument("--environment", type=Path, help="folder of nnU-Net's environment, default --out/nnunet")
    found.add_argument("--keep", action="store_true", help="keep weights, predictions and logs of rows that are done")
    found.add_argument("--out", type=Path, required=True)
    return found


def run_once(task: Task, row: str, seed: int, options: argparse.Namespace) -> bool:
    """A row on a task, unless its file is there; whether it ended well."""
    name = f"{task.name}-{row}-{seed}"
    path, work = options.out / "runs" / f"{name}.json", (options.out / "work" / name).resolve()
    if path.is_file():
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    print(f"{name} ...", flush=True)
    run = Run(
        task=task,
        seed=seed,
        minutes=options.minutes,
        clock=options.clock,
        threads=options.threads,
        work=work,
        shared=work.parent / task.name,
        environment=(options.environment or options.out / "nnunet").resolve(),
        results=path.parent,
    )
    try:
        result = ROWS[row](run)
    except (CommandError, OSError, ValueError) as error:
        print(f"{name} failed: {error}", file=sys.stderr, flush=True)
        return False
    keys = {"task": task.name, "row": row, "seed": seed, **budget(options), "machine": machine(), "commit": commit()}
    with whole_file(path) as part:
        part.write_text(json.dumps({**keys, **result}, indent=1), encoding="utf-8")
    print(f"{name}: Dice {result['dice']:.4f}, {result['train']['seconds']:.0f} s", flush=True)
    if not options.keep:
        shutil.rmtree(work)
    return True


def is_volumes(task: Task) -> bool:
    """Whether a task's images are volumes."""
    return task.read(task.train[0]).image.kind == "volume"


def budget(options: argparse.Namespace) -> dict[str, Any]:
    """What all runs of a folder share."""
    return {name: getattr(options, name) for name in ("minutes", "clock", "threads", "test_limit")}


def keep_budget(options: argparse.Namespace) -> None:
    """Refuse a folder whose runs had other minutes, clock, threads or test cases.

    Raises:
        SystemExit: it has.
    """
    path, mine = options.out / "budget.json", budget(options)
    if path.is_file() and (theirs := json.loads(path.read_text(encoding="utf-8"))) != mine:
        raise SystemExit(f"{options.out} must hold runs of one budget, {theirs}, got {mine}; choose another --out.")
    with whole_file(path) as part:
        part.write_text(json.dumps(mine), encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor(),
        "cores": available_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def commit() -> str:
    """Of this repository, with + where files differ from it."""
    try:
        head, changed = (
            subprocess.run(["git", *command], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
            for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


if __name__ == "__main__":
    sys.exit(main())
