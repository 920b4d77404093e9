"""The classes of a network as its results name and number them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

HIGHEST_VALUE = 65535  # of a 16-bit map


@dataclass(frozen=True)
class Classes:
    """Names of classes, which of them are one piece, and what stands for them in label maps that are written.

    Args:
        names: by class index, from 1.
        largest: indices of classes of which the largest connected component is kept.
        values: what a written label map holds, by class index.
    """

    names: Mapping[int, str]
    largest: tuple[int, ...]
    values: Mapping[int, int]

    @classmethod
    def of(
        cls,
        labels: Mapping[int, str],
        *,
        largest_component: bool | Sequence[str] = False,
        values: Mapping[int, int] | None = None,
    ) -> Classes:
        """Classes from a bundle's settings.

        Args:
            labels: name of every class index, 0 (background) may be left out.
            largest_component: names of classes to keep one component of; True for all.
            values: what written maps hold, by class index; None holds the indices.

        Raises:
            ValueError: no class, an unknown name in `largest_component`, or values that are not a different one from
                1 to 65535 for each class.
        """
        names = {int(index): str(name) for index, name in sorted(labels.items()) if int(index) > 0}
        if not names:
            raise ValueError("labels must name at least one class above 0, got none.")
        wanted = list(names.values()) if largest_component is True else list(largest_component or ())
        if unknown := [name for name in wanted if name not in names.values()]:
            raise ValueError(f"largest_component must name classes among {list(names.values())}, got {unknown}.")
        held = {index: index for index in names} if values is None else dict(values)
        distinct = len(set(held.values())) == len(held)
        if set(held) != set(names) or not distinct or not all(1 <= one <= HIGHEST_VALUE for one in held.values()):
            raise ValueError(
                f"label values must be a different number from 1 to {HIGHEST_VALUE} for each of the classes "
                f"{names}, got {held}."
            )
        return cls(names, tuple(index for index, name in names.items() if name in wanted), held)

    @property
    def written_names(self) -> dict[int, str]:
        """Names by the value in a written label map."""
        return {self.values[index]: name for index, name in self.names.items()}

    def written(self, label: np.ndarray) -> np.ndarray:
        """Class indices as a written label map holds them: 8 bits, or 16 where a value is above 255."""
        return self._mapped(label, self.values)

    def read(self, written: np.ndarray) -> np.ndarray:
        """Class indices of a label map that was written, uint8; other values become background."""
        known = np.isin(written, list(self.values.values()))
        return self._mapped(np.where(known, written, 0), {value: index for index, value in self.values.items()})

    @staticmethod
    def _mapped(label: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
        kind = np.uint8 if max(values.values()) <= 255 else np.uint16
        if all(key == value for key, value in values.items()):
            return label.astype(kind, copy=False)
        table = np.zeros(max(max(values), int(label.max(initial=0))) + 1, kind)
        table[list(values)] = list(values.values())
        return table[label]
