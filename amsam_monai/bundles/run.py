"""Runs a bundle's own training from Python, as often as one likes, and leaves no trace in the process."""

from __future__ import annotations

import difflib
import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow, ReferenceResolver
from monai.handlers import TensorBoardHandler
from torch import nn

from amsam_monai.bundles.find import find_bundle
from amsam_monai.bundles.load import config_file
from amsam_monai.bundles.plain_errors import first_cause
from amsam_monai.bundles.process_state import process_state_kept
from amsam_monai.bundles.setting_checks import places

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, float], None]
Datalist = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass
class TrainingResult:
    """What a training leaves.

    Args:
        root: the bundle's folder.
        models: folder of what was written: model.pt, and a detector where it was fitted.
        output: folder of curves and pictures.
        network: the trained network with the weights of the last epoch, which need not be those of model.pt.
        losses: of every step.
        metrics: of the last validation, empty where there was none.
        best: the best value of the first metric and its epoch, or None.
        seconds: of the trainer's run, without building it.
    """

    root: Path
    models: Path
    output: Path
    network: nn.Module
    losses: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    best: tuple[float, int] | None = None
    seconds: float = 0.0

    @property
    def weights(self) -> Path:
        """The trained adapter."""
        return self.models / "model.pt"


def run_training(
    bundle: str | Path,
    *,
    configs: Sequence[str | Path] = ("train",),
    datalist: Datalist | None = None,
    root: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    handlers: Sequence[Any] = (),
    progress: Progress | None = None,
) -> TrainingResult:
    """Train as `python -m monai.bundle run` with the same configs does, in this process, which stays as it was.

    Not for several processes: those start with torchrun, each with its own `monai.bundle run`.

    Args:
        bundle: path or name, see `find_bundle`.
        configs: names in configs/ or files, each on top of those before it, such as ("train", "bilevel_train").
        datalist: cases that replace the config's own, which it then parts as it does its own; or the parts themselves,
            {"train": [...], "val": [...], "test": [...]}.
        root: folder to write in, models/ and eval/ under it; by default the bundle's.
        overrides: values by id, as on the command line; any Python value, None too. A text that starts with $ or @ is
            an expression or a reference.
        handlers: Ignite handlers (with `attach`) or callables of the trainer, which are called after each epoch.
        progress: called after each epoch with (epoch, epochs, its last loss).

    Raises:
        FileNotFoundError: no such bundle or config.
        ValueError: an override of an id that there is not.
        Exception: what made the run fail, as it was raised first; what MONAI wraps around it is left out.
    """
    with bundle_workflow(bundle, configs=configs, datalist=datalist, root=root, overrides=overrides) as workflow:
        parsed = workflow.parser.get_parsed_content
        trainer: Engine = parsed("train#trainer")
        losses: list[float] = []
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(loss_of(engine)))
        if progress is not None:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, _report, progress)
        for handler in handlers:
            if hasattr(handler, "attach"):
                handler.attach(trainer)
            else:
                trainer.add_event_handler(Events.EPOCH_COMPLETED, handler)
        begun = time.perf_counter()
        workflow.run()
        seconds = time.perf_counter() - begun
        workflow.finalize()
        evaluator = ReferenceResolver.normalize_id("validate#evaluator")
        state = getattr(workflow.parser.ref_resolver.resolved_content.get(evaluator), "state", None)  # None: not built
        best = getattr(state, "best_metric_epoch", -1)
        return TrainingResult(
            root=Path(parsed("bundle_root")),
            models=Path(parsed("ckpt_dir")),
            output=Path(parsed("output_dir")),
            network=parsed("network"),
            losses=losses,
            metrics=dict(getattr(state, "metrics", {})),
            best=(float(state.best_metric), int(best)) if state is not None and best > 0 else None,
            seconds=seconds,
        )


@contextmanager
def bundle_workflow(
    bundle: str | Path,
    *,
    configs: Sequence[str | Path] = ("train",),
    datalist: Datalist | None = None,
    root: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Iterator[ConfigWorkflow]:
    """An initialised workflow of a bundle, to be run in the block; the process is afterwards as before.

    For training there is `run_training`; for arguments and errors see there.
    """
    folder = find_bundle(bundle)
    files = [_config_file(folder, config) for config in configs]
    with process_state_kept(), _first_cause_only(f"{', '.join(file.name for file in files)} of {folder.name}"):
        workflow = ConfigWorkflow(
            config_file=[str(file) for file in files],
            meta_file=str(folder / "configs" / "metadata.json"),
            logging_file=False,
        )
        changes: dict[str, Any] = {"bundle_root": str(folder)}
        if root is not None:
            changes |= {
                "ckpt_dir": str(Path(root).resolve() / "models"),
                "output_dir": str(Path(root).resolve() / "eval"),
            }
        changes |= overrides or {}
        _refuse_unknown(workflow, changes)
        if datalist is not None:
            part = "sections" if isinstance(datalist, Mapping) else "datalist"
            _refuse_unknown(workflow, [part])
            # through a name of expressions: MONAI would read "$", "@" and "%" in the cases' own texts
            workflow.parser.globals["given_cases"] = datalist
            changes[part] = "$given_cases"
        workflow.parser.update(pairs=changes)
        workflow.initialize()
        try:
            yield workflow
        finally:
            for made in workflow.parser.ref_resolver.resolved_content.values():
                if isinstance(made, TensorBoardHandler):
                    made.close()  # ends its thread
            workflow.parser.ref_resolver.reset()
            gc.collect()  # a trainer and its handlers hold each other, and the samples


def _config_file(folder: Path, config: str | Path) -> Path:
    """A file as it is, or that of a name in configs/."""
    if Path(config).suffix in (".yaml", ".yml", ".json"):
        if Path(config).is_file():
            return Path(config).resolve()
        raise FileNotFoundError(f"there is no config file {config}.")
    for ending in ("yaml", "yml", "json"):
        if (folder / "configs" / f"{config}.{ending}").is_file():
            return config_file(folder, str(config))  # refuses twins that differ
    there = sorted(file.stem for file in (folder / "configs").glob("*.yaml"))
    raise FileNotFoundError(f"{folder / 'configs'}: must hold {config}.yaml, got {', '.join(there) or 'no config'}.")


def _refuse_unknown(workflow: ConfigWorkflow, names: Mapping[str, Any] | Sequence[str]) -> None:
    """MONAI takes an override of an id that does not exist, and nothing reads it."""
    for name in names:
        parent = name.replace("::", "#").rpartition("#")[0]
        if name not in workflow.parser and (not parent or parent not in workflow.parser):
            near = places(name) or difflib.get_close_matches(name, map(str, workflow.parser.get()), n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else "."
            raise ValueError(f"overrides must name ids of the bundle's config, got {name!r}{hint}")


def loss_of(engine: Engine) -> float:
    """The loss of a trainer's last iteration."""
    output = engine.state.output
    return float((output[0] if isinstance(output, list) else output)["loss"])  # type: ignore[index, call-overload]


def _report(engine: Engine, progress: Progress) -> None:
    progress(engine.state.epoch, engine.state.max_epochs or 0, loss_of(engine))


@contextmanager
def _first_cause_only(what: str) -> Iterator[None]:
    """What a component raised, see `first_cause`."""
    try:
        yield
    except Exception as error:
        cause = first_cause(error)
        logger.error("%s failed: %s: %s", what, type(cause).__name__, cause)
        raise cause from cause.__cause__
