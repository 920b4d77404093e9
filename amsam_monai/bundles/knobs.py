"""Numbers that a command line gives to a training, looked at before anything is computed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from amsam_monai.data.files.atomic import check_writable

MOST_EPOCHS = 100_000
VARIABLE = "AMSAM_MAX_EPOCHS"  # the limit for all trainings and servers


def most_epochs() -> int:
    """The environment's limit, or the usual one.

    Raises:
        ValueError: the environment's is no whole number above 0.
    """
    said = os.environ.get(VARIABLE, "")
    if said and not (said.isdigit() and int(said)):
        raise ValueError(f"{VARIABLE} must be a whole number above 0, got {said!r}.")
    return int(said) if said else MOST_EPOCHS


def check_knobs(
    *, max_epochs: Any, batch_size: Any, val_interval: Any, learning_rate: Any, seed: Any, device: Any = "cpu"
) -> None:
    """Refuse what no training can take; arguments are a config's values of these names.

    Raises:
        ValueError: a value is not a number of its kind, or this machine has no such device.
    """
    most = most_epochs()
    for name, value, low, high in (
        ("max_epochs", max_epochs, 1, most),
        ("batch_size", batch_size, 1, 2**20),
        ("val_interval", val_interval, 1, most),
        ("seed", seed, 0, 2**32 - 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}.")
    number = isinstance(learning_rate, int | float) and not isinstance(learning_rate, bool)
    if not number or not 0 <= learning_rate < math.inf:
        raise ValueError(f"learning_rate must be a number, at least 0, got {learning_rate!r}.")
    check_device(device)


def check_folders(folders: Iterable[str | Path]) -> None:
    """Refuse folders that cannot be written to.

    Raises:
        OSError: one is read-only, full or a file.
    """
    for folder in folders:
        check_writable(folder)


def check_device(device: Any) -> None:
    """Refuse a device that is not here.

    Raises:
        ValueError: unknown, or absent.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"device must be one that is here, got {str(device)!r} ({reason}); use cpu.") from None
