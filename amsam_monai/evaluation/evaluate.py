"""Score files against files: what `amsam evaluate` does, for scripts."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.datasets.checks import Spread
from amsam_monai.data.files.arrays import from_npz
from amsam_monai.data.files.images import ImageFileError, format_of, read_image
from amsam_monai.evaluation.pairs import LoadedPair, Pair, case_of, load_pair, load_problems
from amsam_monai.evaluation.scoring.case_scores import available_cores, score_case
from amsam_monai.evaluation.scoring.protocols import Protocol, get_protocol
from amsam_monai.evaluation.scoring.score import Score


def evaluate_pairs(
    pairs: Sequence[Pair],
    labels: Mapping[int, str],
    *,
    protocol: Protocol | None = None,
    tolerance: float = 2.0,
    sod: bool = False,
    probabilities: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Callable[[], None] | None = None,
    spread: Spread | None = None,
) -> tuple[list[Score], list[str]]:
    """Scores of all cases, and notes on what was done to their files.

    Args:
        pairs: from `find_pairs`.
        labels: index to name.
        protocol: strict by default.
        tolerance: of NSD.
        sod: add S, E and F measures.
        probabilities: folder of probabilities for those, by case: npz of `amsam segment --probabilities`, or grey
            pictures.
        workers: threads; all cores by default.
        progress: called after each case.
        spread: `map` over a cluster's workers, each of which has a thread; None is threads here.

    Raises:
        ValueError: files that cannot be scored, all of them listed; or probabilities of several classes.
    """
    if probabilities is not None and len(labels) > 1:
        raise ValueError(f"probabilities go with one class, got {len(labels)}; score the classes one by one.")
    maps = _probability_files(probabilities, pairs) if probabilities is not None else {}
    threads = workers or available_cores()
    abreast = min(threads, len(pairs))
    options = {"protocol": protocol or get_protocol(), "tolerance": tolerance, "sod": sod}
    job = ScoreJob(labels, maps, options, 1 if spread else max(1, threads // abreast))
    results = []
    with ThreadPoolExecutor(abreast) as pool:
        for result in (spread or pool.map)(job, pairs):
            results.append(result)
            if progress is not None:
                progress()
    if errors := [result for result in results if isinstance(result, Exception)]:
        raise errors[0] if len(errors) == len(pairs) == 1 else load_problems(errors)
    done = [result for result in results if not isinstance(result, Exception)]
    counts = Counter(note for _, notes in done for note in notes)
    return [score for scores, _ in done for score in scores], [f"{note}: {n} cases" for note, n in counts.items()]


@dataclass(frozen=True)
class ScoreJob:
    """Scores a pair of files: scores and notes, or what is wrong with them.

    Args:
        labels: index to name.
        maps: files of probabilities by case, or none.
        options: of `score_case`.
        workers: threads.
    """

    labels: Mapping[int, str]
    maps: Mapping[str, Path]
    options: Mapping[str, Any]
    workers: int

    def __call__(self, pair: Pair) -> tuple[list[Score], tuple[str, ...]] | Exception:
        """Score one case."""
        try:
            loaded = load_pair(pair, self.labels)
            scores = score_case(
                loaded.pred,
                loaded.label,
                self.labels,
                case=pair.case,
                spacing_mm=loaded.spacing_mm,
                probability=_probability(self.maps[pair.case], loaded) if self.maps else None,
                workers=self.workers,
                **self.options,
            )
            return scores, loaded.notes
        except (ValueError, OSError) as error:
            return error


def _probability_files(folder: str | os.PathLike[str], pairs: Sequence[Pair]) -> dict[str, Path]:
    files = [path for path in sorted(Path(folder).rglob("*")) if format_of(path) in ("array", "picture")]
    marked = "_probabilities"
    found = {case_of(path.name.replace(marked, "")): path for path in files if marked in path.stem}
    found = found or {case_of(path): path for path in files}
    missing = [pair.case for pair in pairs if pair.case not in found]
    if missing:
        shown = ", ".join(missing[:10])
        raise ValueError(f"{folder} must hold probabilities of every case, got none of {len(missing)}: {shown}.")
    return found


def _probability(path: Path, loaded: LoadedPair) -> np.ndarray:
    if path.suffix == ".npz":
        try:
            shares = from_npz(path, "probabilities", (), None)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ImageFileError(path, f"cannot be read ({error}); write it anew.") from error
        if shares.ndim < 2 or len(shares) < 2:
            raise ImageFileError(path, f"probabilities must be of background and class, got shape {shares.shape}.")
        probability = shares[1].astype(np.float64)
    else:
        probability = read_image(path).array.astype(np.float64) / 255.0
    if probability.shape != loaded.label.shape:
        problem = f"probabilities must have the label's shape {loaded.label.shape}, got {probability.shape}."
        raise ImageFileError(path, problem)
    return probability
