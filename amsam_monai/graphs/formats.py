"""Formats that graphs are written in, and how each is read and run to compare it with PyTorch."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amsam_monai.networks.systems.graphs import Graph
from amsam_monai.networks.systems.tracing import traced

Run = Callable[[Sequence[Tensor]], list[np.ndarray]]
WHOLE_BYTES = 1_800_000_000  # an ONNX file holds two gigabytes; larger weights lie beside it


@dataclass(frozen=True)
class Format:
    """How graphs are written and run.

    Args:
        suffix: of the files.
        packages: that it needs beside the package's own.
        write: a graph, recorded with these inputs, to a path.
        load: what runs such a file.
    """

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[Graph, tuple[Tensor, ...], Path], None]
    load: Callable[[Path], Run]

    def check(self) -> None:
        """Refuse where a package is missing.

        Raises:
            ImportError: one is.
        """
        if missing := [name for name in self.packages if find_spec(name) is None]:
            raise ImportError(f"this format needs {', '.join(missing)}; pip install {' '.join(missing)}")


def write_onnx(graph: Graph, example: tuple[Tensor, ...], path: Path) -> None:
    """A graph as ONNX, for any number of images, prompts and objects."""
    weights = sum(one.numel() * one.element_size() for one in graph.parameters())
    dims = {name: torch.export.Dim(name) for name in ("batch", "points", "objects")}
    shapes = tuple({axis: dims[name] for axis, name in graph.axes(one).items()} for one in graph.inputs)
    with quietly():
        torch.onnx.export(
            graph,
            example,
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(shapes,),
            dynamo=True,
            external_data=weights > WHOLE_BYTES,
            verbose=False,
        )


def load_onnx(path: Path) -> Run:
    """Run an ONNX file by onnxruntime, on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda tensors: session.run(None, dict(zip(names, map(as_array, tensors), strict=True)))


def write_torchscript(graph: Graph, example: tuple[Tensor, ...], path: Path) -> None:
    """A graph as TorchScript, traced, for any number of images, prompts and objects."""
    torch.jit.save(traced(graph, example), str(path))  # type: ignore[no-untyped-call]


def load_torchscript(path: Path) -> Run:
    """Run a TorchScript file."""
    module = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return lambda tensors: [one.numpy() for one in module(*tensors)]


def write_openvino(graph: Graph, example: tuple[Tensor, ...], path: Path) -> None:
    """A graph as OpenVINO's model, two files, in 32-bit floats, by way of ONNX."""
    openvino = silent_openvino()
    with tempfile.TemporaryDirectory(prefix="amsam-openvino-") as folder:
        write_onnx(graph, example, Path(folder, "graph.onnx"))
        model = openvino.Core().read_model(str(Path(folder, "graph.onnx")))
        openvino.save_model(model, str(path), compress_to_fp16=False)


def load_openvino(path: Path) -> Run:
    """Run an OpenVINO model on the processor, in 32-bit floats."""
    model = silent_openvino().Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(tensors: Sequence[Tensor]) -> list[np.ndarray]:
        found = model([as_array(one) for one in tensors])
        return [found[output] for output in model.outputs]

    return run


def silent_openvino() -> Any:
    """OpenVINO, which tells its makers nothing of its use: without its package of telemetry it takes an empty one."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None cannot be imported
    import openvino

    return openvino


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor's values for another runtime."""
    return np.ascontiguousarray(tensor.numpy())


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what exporters say of how they work; what they write is compared afterwards."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), write_onnx, load_onnx),
    "torchscript": Format(".ts", (), write_torchscript, load_torchscript),
    "openvino": Format(".xml", ("onnx", "onnxscript", "openvino"), write_openvino, load_openvino),
}
