"""Exported graphs beside PyTorch: seconds of an encoder and of a decoder on the processor.

    python scripts/benchmarks/export.py [--side 512] [--rounds 5] [--threads 1] [--weights none] [--out export.json]

MobileSAM (`amsam weights fetch mobile_sam`, or random weights) under AM-SAM, AI-SAM and AutoSAM with random adapters.
onnxruntime and PyTorch take the same inputs in turn. `encoder` is the image encoder, `automatic` all that comes after
it, `prompted` the same for a point and a box of each class.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from sides import in_turn, tell

from amsam_monai.graphs.examples import inputs_of, picture_pixels
from amsam_monai.graphs.formats import as_array, write_onnx
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.autosam import build_autosam
from amsam_monai.networks.systems.graphs import Graph, graphs_of

SYSTEMS = {
    "AM-SAM": lambda sam: AMSAM(sam, num_classes=1),
    "AI-SAM": lambda sam: AISAM(sam, num_classes=3, encoder="frozen"),
    "AutoSAM": lambda sam: build_autosam(sam, backbone="sam", num_classes=1),
}


def seconds(graph: Graph, inputs: tuple[torch.Tensor, ...], rounds: int, threads: int) -> dict[str, list[float]]:
    """Of each round, PyTorch's and onnxruntime's; the first of each, which is not counted, goes before."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory(prefix="amsam-export-") as folder:
        write_onnx(
            graph, tuple(torch.cat([one, one]) if one.ndim > 1 else one for one in inputs), Path(folder, "g.onnx")
        )
        session = onnxruntime.InferenceSession(str(Path(folder, "g.onnx")), options, ["CPUExecutionProvider"])
        arrays = {name: as_array(one) for name, one in zip(graph.inputs, inputs, strict=True)}
        runs = {"onnxruntime": lambda: session.run(None, arrays), "PyTorch": lambda: graph(*inputs)}
        with torch.inference_mode():
            return in_turn(runs, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--weights", default="mobile_sam", help="of the catalogue, a file, or none: random")
    parser.add_argument("--out", type=Path, help="JSON of all rounds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    weights = None if options.weights == "none" else options.weights
    rows: dict[str, Any] = {}
    for name in options.systems:
        system = SYSTEMS[name](build_sam("vit_t", image_size=options.side, weights=weights)).eval()
        graphs, _ = graphs_of(system)
        inputs = inputs_of(graphs, *picture_pixels(graphs), {"points": 3, "objects": 1}, picture=True)
        for graph in graphs:
            if graph == "encoder" and any(row.endswith("encoder") for row in rows):
                continue  # the same in all
            row = graph if graph == "encoder" else f"{name}, {graph}"
            rows[row] = seconds(graphs[graph], inputs[graph], options.rounds, options.threads)
    tell({f"{row} at {options.side}": found for row, found in rows.items()}, options.out, threads=options.threads)


if __name__ == "__main__":
    main()
