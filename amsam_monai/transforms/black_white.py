"""Which stored values become 0 and 1: Hounsfield windows, percentiles, bit depths, scaled images; without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from amsam_monai.bit_depth import white

MODES = ("hu_window", "percentile", "bit_depth", "min_max", "none")
SCOPES = ("volume", "slice")
BINS = 65536
CHUNK_VALUES = 1 << 20


class BlackAndWhite:
    """The two values of an image that become 0 and 1, as the mode sets them.

    hu_window: Hounsfield units between `low` and `high`, by default -125 and 275, the abdominal window of TransUNet
    and SAMed. percentile: the `low`-th and `high`-th percentile of the volume, by default 0.5 and 99.5, for MR.
    bit_depth: 0 to 255, or to the greatest value of 10, 12, 14 or 16 bits for 16-bit unsigned images.
    min_max: the smallest and largest value.
    none: the image is in [0, 1] already.

    Args:
        mode: one of MODES.
        low: lower end, see above.
        high: upper end.
        per: "volume" takes the statistics of all values, "slice" those of each slice.
        check: refuse values that the mode cannot be meant for.

    Shape: any; with per="slice" the last axis counts the slices of an array of more than three axes.

    Raises:
        ValueError: unknown mode or scope, or `low` not below `high`.
    """

    def __init__(
        self,
        mode: str = "percentile",
        *,
        low: float | None = None,
        high: float | None = None,
        per: str = "volume",
        check: bool = True,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"intensity mode must be one of {MODES}, got {mode!r}.")
        if per not in SCOPES:
            raise ValueError(f"intensity statistics must be per one of {SCOPES}, got {per!r}.")
        usual = {"hu_window": (-125.0, 275.0), "percentile": (0.5, 99.5)}.get(mode, (0.0, 1.0))
        self.mode, self.per, self.check = mode, per, check
        self.low = usual[0] if low is None else float(low)
        self.high = usual[1] if high is None else float(high)
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}.")
        if mode == "percentile" and not (self.low >= 0 and self.high <= 100):
            raise ValueError(f"percentiles must lie in [0, 100], got {self.low} and {self.high}.")

    @property
    def by_slice(self) -> bool:
        """Whether the statistics differ from slice to slice."""
        return self.per == "slice" and self.mode in ("percentile", "min_max")

    def limits(self, values: np.ndarray, bits: int | None = None) -> tuple[float, float]:
        """The two values that become 0 and 1, from all of `values`.

        Args:
            values: of the image.
            bits: of a stored value, where the file says so; for `bit_depth`.

        Raises:
            ValueError: the values are not finite, or not what the mode takes them for.
        """
        if values.size == 0:
            raise ValueError(f"image must not be empty, got shape {tuple(values.shape)}.")
        least, greatest = value_range(values)
        if self.check:
            self._refuse(least, greatest, values.dtype)
        if self.mode == "percentile":
            low, high = percentiles(values, (self.low, self.high), least, greatest)
            return low, high
        if self.mode == "min_max":
            return least, greatest
        if self.mode == "bit_depth":
            return 0.0, white(greatest, bits)
        return self.low, self.high

    def _refuse(self, least: float, greatest: float, dtype: np.dtype) -> None:
        found = f"got values from {least:.6g} to {greatest:.6g}"
        if not (np.isfinite(least) and np.isfinite(greatest)):
            raise ValueError(f"image must be finite, {found}; replace NaN and infinite values first.")
        if self.mode == "hu_window" and least >= 0 and least != greatest:
            raise ValueError(
                f"hu_window expects Hounsfield units, where air and fat are negative, {found}; "
                "for images that are scaled already use mode 'bit_depth' (0..255), 'none' (0..1) or 'percentile'."
            )
        top = 65535 if dtype == np.uint16 else 255
        if self.mode == "bit_depth" and (least < 0 or greatest > top):
            raise ValueError(f"bit_depth expects [0, {top}], {found}; use 'hu_window' for CT, 'percentile' for MR.")
        if self.mode == "none" and (least < 0 or greatest > 1):
            raise ValueError(
                f"'none' expects an image in [0, 1], {found}; use 'bit_depth', 'percentile' or 'hu_window'."
            )


def chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array's values in pieces of a few million, so that nothing of a volume's size is copied."""
    axis = int(np.argmax(array.strides)) if array.ndim else 0  # the slowest axis, whose pieces lie together
    step = max(1, CHUNK_VALUES * array.shape[axis] // max(array.size, 1)) if array.ndim else 1
    for start in range(0, array.shape[axis] if array.ndim else 1, step):
        chunk = array[(slice(None),) * axis + (slice(start, start + step),)] if array.ndim else array
        yield chunk.astype(np.float32) if chunk.dtype == np.float64 else chunk  # as the network sees them


def value_range(array: np.ndarray) -> tuple[float, float]:
    """Least and greatest value; NaN where there is one."""
    ranges = [(float(chunk.min()), float(chunk.max())) for chunk in chunks(array)]
    return float(np.min([least for least, _ in ranges])), float(np.max([greatest for _, greatest in ranges]))


def holds_whole_numbers(array: np.ndarray) -> bool:
    """Whether all values are whole numbers, however they are stored."""
    return array.dtype.kind in "iu" or all(bool((chunk == np.rint(chunk)).all()) for chunk in chunks(array))


def percentiles(array: np.ndarray, wanted: Sequence[float], least: float, greatest: float) -> tuple[float, ...]:
    """Percentiles by histogram, the same in whatever order the values lie, in flat memory.

    Whole numbers, also those stored as floats, that span fewer than 65536 values are counted one by one, as numpy's
    linear percentiles; others are the value at the rank below, found to the range / 2**32.
    """
    if not least < greatest:
        return (least,) * len(wanted)
    ranks = [share / 100.0 * (array.size - 1) for share in wanted]
    if greatest - least < BINS and holds_whole_numbers(array):
        sums = np.cumsum(histogram(array, least, greatest + 1, int(greatest - least) + 1))
        return tuple(
            float(np.interp(rank % 1, (0, 1), [least + _bin(sums, step) for step in _steps(rank)])) for rank in ranks
        )
    width = (greatest - least) / BINS
    sums = np.cumsum(histogram(array, least, greatest, BINS))
    found = []
    for rank in ranks:
        coarse = _bin(sums, rank)
        low = least + coarse * width
        inside = histogram(array, low, low + width, BINS, last=coarse == BINS - 1)
        before = sums[coarse - 1] if coarse else 0
        found.append(low + (_bin(before + np.cumsum(inside), rank) + 0.5) * width / BINS)
    return tuple(found)


def _steps(rank: float) -> tuple[int, int]:
    return int(np.floor(rank)), int(np.ceil(rank))


def _bin(sums: np.ndarray, rank: float) -> int:
    """The bin that holds the value of that rank (0 is the least), from running sums of counts."""
    return min(int(np.searchsorted(sums, rank, side="right")), len(sums) - 1)


def histogram(array: np.ndarray, low: float, high: float, bins: int, *, last: bool = True) -> np.ndarray:
    """Counts in equal bins from `low` to `high`; with `last` the last bin takes `high` itself too."""
    counts = np.zeros(bins, dtype=np.int64)
    for chunk in chunks(array):
        place = np.floor((chunk.ravel(order="K").astype(np.float64) - low) * (bins / (high - low)))
        if last:
            place[place == bins] = bins - 1
        place = place[(place >= 0) & (place < bins)]
        counts += np.bincount(place.astype(np.int64), minlength=bins)
    return counts
