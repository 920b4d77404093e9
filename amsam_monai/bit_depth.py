"""Which stored value of an unsigned picture is white."""

from __future__ import annotations

DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras, scanners and detectors deliver


def white(greatest: float, bits: int | None = None) -> float:
    """The value that full brightness has: 255 of 8 bits, 4095 of 12 in a 16-bit file.

    Args:
        greatest: of the image's values.
        bits: what the file says; the least of DEPTHS that holds `greatest` where it says nothing, or too little.
    """
    if bits is not None and bits >= DEPTHS[0] and greatest < 2**bits:
        return float(2**bits - 1)
    return float(2 ** next((depth for depth in DEPTHS if greatest < 2**depth), DEPTHS[-1]) - 1)
