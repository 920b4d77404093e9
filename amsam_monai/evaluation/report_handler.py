"""A report at the end of an evaluator's run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.utils import string_list_all_gather

from amsam_monai.evaluation.report import write_report
from amsam_monai.evaluation.scoring.metrics import score_tensors
from amsam_monai.evaluation.scoring.protocols import get_protocol
from amsam_monai.evaluation.scoring.score import Score
from amsam_monai.evaluation.summary import summarise
from amsam_monai.keys import CASE_ID, LABEL, PRED


class ReportSaver:
    """Write scores.csv, summary.json, report.md and report.html of everything an evaluator saw.

    The files are those of `amsam evaluate`, without pictures of cases (see OverlaySaver for those). With several
    processes the first one writes for all.

    Args:
        folder: where to.
        labels: class index to name; keys may be text, as JSON has them.
        protocol: see `get_protocol`.
        tolerance: of NSD.
        logits: predictions are logits, which the published protocols then score exactly.
        beside: data set whose published results are printed too.

    Reads pred, label and case_id of the engine's output and batch, which postprocessing has decollated.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        labels: Mapping[int | str, str],
        protocol: str = "strict",
        *,
        tolerance: float = 2.0,
        logits: bool = False,
        beside: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.labels = {int(index): name for index, name in labels.items()}
        self.protocol = get_protocol(protocol)
        self.tolerance = tolerance
        self.logits = logits
        self.beside = beside
        self._scores: list[Score] = []

    def attach(self, engine: Engine) -> None:
        """Start empty, score each batch, write at the end."""
        engine.add_event_handler(Events.STARTED, lambda _: self._scores.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def __call__(self, engine: Engine) -> None:
        """Score the engine's latest output."""
        samples: Any = engine.state.output
        for sample in samples if isinstance(samples, list) else [samples]:
            options: dict[str, Any] = {"protocol": self.protocol, "tolerance": self.tolerance, "logits": self.logits}
            case = case_name(sample, len({score.case for score in self._scores}))
            self._scores += score_tensors(sample[PRED], sample[LABEL], labels=self.labels, case=case, **options)

    def write(self, engine: Engine) -> None:
        """Write the report of what was scored."""
        import ignite.distributed as idist

        rows = string_list_all_gather([json.dumps(asdict(score)) for score in self._scores])
        rows = [row for row in dict.fromkeys(rows) if row]  # samplers repeat cases to fill the last round
        if idist.get_rank() == 0 and rows:
            scores = [Score(**json.loads(row)) for row in rows]
            summary = summarise(scores, self.labels, self.protocol, from_logits=self.logits)
            write_report(self.folder, scores, summary, beside=self.beside)


def case_name(sample: Mapping[str, Any], number: int) -> str:
    """A sample's case_id, else its label's file name, else a number."""
    if CASE_ID in sample:
        return str(sample[CASE_ID])
    file = getattr(sample[LABEL], "meta", {}).get("filename_or_obj")
    return Path(str(file)).name.split(".")[0] if file else f"case_{number:03d}"
