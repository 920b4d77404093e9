"""Weights that are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The first tensors with NaN or infinite values, in words; empty where there are none."""
    bad = [name for name, one in tensors.items() if one.is_floating_point() and not bool(one.isfinite().all())]
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return f"weights must be finite, got NaN or infinite values in {', '.join(bad[:3])}{more}" if bad else ""
