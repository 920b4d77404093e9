"""Whether code runs to be recorded, and not to answer."""

from __future__ import annotations

import torch


def in_graph() -> bool:
    """Whether what is computed becomes a graph for other inputs, by a compiler, an exporter or a tracer."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call]
