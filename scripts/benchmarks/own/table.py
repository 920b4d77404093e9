"""The table of all rows: strict Dice by task, how well it is foretold, its mean over tasks, seconds and peak memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from amsam_monai.evaluation.scoring.expected import BAD, judge_expected

Result = Mapping[str, Any]


def make_table(results: Sequence[Result], rows: Sequence[str], rivals: Sequence[str]) -> str:
    """Markdown: a line for each row, how well rows foretell their Dice, and the classes of tasks that have several.

    Args:
        results: of `bench_own.py`, a JSON each.
        rows: names, in order.
        rivals: rows of which the better one of every task is a line too.
    """
    tasks = list(dict.fromkeys(result["task"] for result in results))
    lines = [
        "| row | " + " | ".join(tasks) + " | mean | training seconds | processor seconds | peak GB | runs |",
        "|---|" + "--:|" * (len(tasks) + 5),
    ]
    means: dict[str, dict[str, float]] = {}
    for row in rows:
        mine = [result for result in results if result["row"] == row]
        if mine:
            by_task = {task: [one["dice"] for one in mine if one["task"] == task] for task in tasks}
            means[row] = {task: float(np.mean(values)) for task, values in by_task.items() if values}
            cells = [spread(by_task[task]) for task in tasks]
            lines.append(_line([row, *cells, _mean(means[row], tasks), *_costs(mine)]))
    best = {
        task: max(found) for task in tasks if (found := [means[r][task] for r in rivals if task in means.get(r, {})])
    }
    if len([row for row in rivals if row in means]) > 1:
        cells = [f"{best[task]:.3f}" if task in best else "" for task in tasks]
        lines.append(_line(["best of U-Nets and nnU-Nets, by task", *cells, _mean(best, tasks), "", "", "", ""]))
    return "\n".join([*lines, *_foretold(results, rows), *_classes(results, rows, tasks)]) + "\n"


def spread(values: Iterable[float]) -> str:
    """Mean, and standard deviation of several."""
    values = list(values)
    if not values:
        return ""
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def _foretold(results: Sequence[Result], rows: Sequence[str]) -> list[str]:
    """How well the expected Dice of masks tells the true one, over all tasks and runs of a row."""
    lines = []
    for row in rows:
        told, true = [], []
        for result in (one for one in results if one["row"] == row):
            for case, classes in result.get("expected", {}).items():
                for name, value in classes.items():
                    dice = result["cases"].get(case, {}).get(name)
                    if value is not None and dice is not None:
                        told.append(value)
                        true.append(dice)
        if told:
            found = judge_expected(told, true)
            cells = [f"{found[name]:.2f}" for name in ("spearman", "auroc", "look_at", "error")]
            lines.append(_line([row, str(found["count"]), str(found["bad"]), *cells]))
    header = f"| Dice foretold | masks | below {BAD:g} | Spearman | AUROC | to look at for 9 of 10 bad ones | error |"
    return ["", header, "|---|" + "--:|" * 6, *lines] if lines else []


def _classes(results: Sequence[Result], rows: Sequence[str], tasks: Sequence[str]) -> list[str]:
    lines = []
    for task in tasks:
        mine = [result for result in results if result["task"] == task]
        names = list(mine[0]["classes"])
        if len(names) > 1:
            lines += ["", f"| {task} | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
            for row in rows:
                runs = [result for result in mine if result["row"] == row]
                if runs:
                    found = [[run["classes"][name] for run in runs] for name in names]
                    lines.append(_line([row, *(spread(v for v in values if v is not None) for values in found)]))
    return lines


def _mean(by_task: Mapping[str, float], tasks: Sequence[str]) -> str:
    """Over all tasks; nothing where one lacks."""
    return f"{np.mean(list(by_task.values())):.3f}" if len(by_task) == len(tasks) else ""


def _costs(results: Sequence[Result]) -> list[str]:
    seconds, processor = (np.median([one["train"][key] for one in results]) for key in ("seconds", "processor_seconds"))
    peak = max(max(one["train"]["peak_gb"], one["predict"]["peak_gb"]) for one in results)
    return [f"{seconds:.0f}", f"{processor:.0f}", f"{peak:.1f}", str(len(results))]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
