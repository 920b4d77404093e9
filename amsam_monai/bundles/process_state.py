"""What a bundle's run changes of the process it runs in, put back as its caller had it."""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from monai.utils import get_seed, set_determinism


@contextmanager
def process_state_kept() -> Iterator[None]:
    """Logging, sys.path and argv, working directory, environment, random state and threads are afterwards as before.

    A bundle's handlers log through the root logger, MONAI puts the bundle first on sys.path, and determinism is set for
    the whole process. Other threads see those changes while the block runs.
    """
    with ExitStack() as stack:
        for keep in (_keep_logging, _keep_lists, _keep_folder, _keep_environment, _keep_torch_settings, _keep_random):
            stack.callback(keep())
        yield


def _keep_logging() -> Callable[[], None]:
    """Levels, handlers and switches of all loggers; one that is new loses what it was given."""
    manager, disabled = logging.root.manager, logging.root.manager.disable
    kept = {name: _settings(logger) for name, logger in _loggers().items()}

    def restore() -> None:
        manager.disable = disabled
        for name, logger in _loggers().items():
            level, handlers, propagate, silent = kept.get(name, (logging.NOTSET, [], True, False))
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate, logger.disabled = propagate, silent

    return restore


def _loggers() -> dict[str, logging.Logger]:
    named = {name: each for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)}
    return {"": logging.root, **named}


def _settings(logger: logging.Logger) -> tuple[int, list[logging.Handler], bool, bool]:
    return logger.level, list(logger.handlers), logger.propagate, logger.disabled


def _keep_lists() -> Callable[[], None]:
    path, argv = list(sys.path), list(sys.argv)

    def restore() -> None:
        sys.path[:], sys.argv[:] = path, argv

    return restore


def _keep_folder() -> Callable[[], None]:
    folder = os.getcwd()
    return lambda: os.chdir(folder)


def _keep_environment() -> Callable[[], None]:
    kept = dict(os.environ)

    def restore() -> None:
        for name in set(os.environ) - set(kept):
            del os.environ[name]
        os.environ.update({name: value for name, value in kept.items() if os.environ.get(name) != value})

    return restore


def _keep_torch_settings() -> Callable[[], None]:
    cudnn: Any = torch.backends.cudnn
    flags = {name: getattr(cudnn, name) for name in ("deterministic", "benchmark", "allow_tf32")}
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()

    def restore() -> None:
        for name, value in flags.items():
            setattr(cudnn, name, value)
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_grad_enabled(grad)
        torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(dtype)

    return restore


def _keep_random() -> Callable[[], None]:
    """States of Python, NumPy and torch, and the seed that MONAI hands to transforms; restored before the flags."""
    seed, python, numpy, cpu = get_seed(), random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def restore() -> None:
        set_determinism(seed)  # the one way to MONAI's seed
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus is not None:
            torch.cuda.set_rng_state_all(gpus)

    return restore
