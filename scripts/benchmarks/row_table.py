"""Rows of the papers' tables: what each changes of a bundle's own training, read from rows/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "rows"
# Neither a detector nor simulated boxes: the learned prompt alone.
BOXLESS = {"settings#detector": None}
UNCACHED = {"embedding_cache": None}


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        configs: on top of train.yaml, by name or as files.
        set: overrides of the bundle's training.
        trains: False scores the network as it comes.
        boxless: no detector's boxes prompt the network.
        cached: embeddings are kept.
        own: what the row's configs say and a run does not: epochs, size, views.
    """

    configs: tuple[str | Path, ...] = ()
    set: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = True
    boxless: bool = False
    cached: bool = True
    own: tuple[str, ...] = ()

    def overrides(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """The run's overrides with the row's own, which come first."""
        parts = {"epochs": ("max_epochs",), "size": ("settings#sam#image_size",), "views": ("views",)}
        left = {name for part in self.own for name in parts[part]}
        kept = {name: value for name, value in run.items() if name not in left}
        if self.boxless:
            kept = {
                name: value for name, value in kept.items() if not name.startswith(("settings#detector", "detector#"))
            }
        return {**kept, **(BOXLESS if self.boxless else {}), **self.set}


def read_table(name: str) -> dict[str, Any]:
    """rows/NAME.yaml; its rows as `Row`s."""
    table: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    table["rows"] = {row: _row(table["rows"], row) for row in table["rows"]}
    return table


def _row(rows: Mapping[str, Mapping[str, Any]], name: str) -> Row:
    said = dict(rows[name])
    like = _row(rows, said.pop("like")) if "like" in said else Row()
    configs = [FOLDER / config if config.endswith(".yaml") else config for config in said.pop("configs", [])]
    return Row(
        configs=(*like.configs, *configs),
        set={**like.set, **said.pop("set", {})},
        own=(*like.own, *said.pop("own", [])),
        **{"trains": like.trains, "boxless": like.boxless, "cached": like.cached, **said},
    )
