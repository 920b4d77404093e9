"""Memory and time of segmenting a thin and a thick stack: file in, file out, input and output volumes aside.

    python scripts/benchmarks/volume_memory.py [--side 512] [--depths 100 1000] [--network stub|vit_nano] [--float]
        [--probabilities] [--out growth.json]

Each depth runs in a process of its own. Working memory is the peak of resident memory that no file backs, less what the
libraries and the network take before the volume comes, less the input volume and the label map. Probabilities lie in
a temporary file, and are written as NIfTI that is not compressed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

LIMIT = 2.5
MIB = 2**20


def resident_bytes() -> int:
    """Of this process, but for pages of files, which the system takes back when it needs them (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))


class Peak(threading.Thread):
    """Watches `resident_bytes` until it is asked for the most that there were."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.over = 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Look every few milliseconds."""
        while not self.over.wait(0.005):
            self.most = max(self.most, resident_bytes())

    def stop(self) -> int:
        """The most bytes."""
        self.over.set()
        self.join()
        return self.most


def write_volume(path: Path, side: int, depth: int, dtype: str) -> None:
    import nibabel as nib
    import numpy as np

    rng = np.random.default_rng(0)
    slice_ = rng.integers(-1000, 1000, (side, side)).astype(dtype)
    header = nib.Nifti1Header()
    header.set_data_shape((side, side, depth))
    header.set_data_dtype(dtype)
    header.set_sform([[-0.7, 0, 0, 0], [0, -0.7, 0, 0], [0, 0, 1.5, 0]], code=1)
    header["vox_offset"] = 352
    with path.open("wb") as file:  # slice by slice: this is not what is measured
        file.write(header.binaryblock.replace(b"ni1\0", b"n+1\0") + bytes(4))
        for number in range(depth):
            file.write(np.roll(slice_, number, axis=0).tobytes(order="F"))


def build_network(name: str):
    import torch
    from torch import nn

    if name == "vit_nano":
        from amsam_monai.networks.sam import build_sam
        from amsam_monai.networks.systems.amsam import AMSAM

        return AMSAM(build_sam("vit_nano", image_size=256), num_classes=3)

    class Stub(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.layer(image)

    return Stub()


def measure(path: Path, network: str, probabilities: bool) -> dict[str, float]:
    """Peak, working memory and seconds of one segmentation, in this process."""
    import torch

    from amsam_monai.data.files.images import read_image
    from amsam_monai.segment.segmenter import Segmenter

    torch.manual_seed(0)
    segmenter = Segmenter(build_network(network), {1: "a", 2: "b", 3: "c"}, intensity={"mode": "percentile"})
    segmenter.network(torch.rand(1, 3, 64, 64))  # first call sets libraries up
    before, peak, begun = resident_bytes(), Peak(), time.perf_counter()
    image = read_image(path)
    result = segmenter(image, probabilities=probabilities)
    if probabilities:
        result.save_probabilities(path.with_name("shares.nii"))
    result.save(path.with_name("out.nii.gz"))
    seconds, most = time.perf_counter() - begun, peak.stop()
    volumes = image.array.nbytes + result.label.nbytes
    working = (most - before - volumes) / MIB
    return {"peak": most / MIB, "volumes": volumes / MIB, "working": working, "seconds": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--depths", type=int, nargs=2, default=(100, 1000))
    parser.add_argument("--network", choices=("stub", "vit_nano"), default="stub")
    parser.add_argument("--float", action="store_true", help="store 32-bit floats instead of 16-bit integers")
    parser.add_argument("--probabilities", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON of both")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.network, options.probabilities)))
        return 0
    told: dict[int, dict[str, float]] = {}
    for depth in options.depths:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "volume.nii"
            write_volume(path, options.side, depth, "<f4" if options.float else "<i2")
            command = [sys.executable, __file__, "--measure", str(path), "--network", options.network]
            command += ["--probabilities"] if options.probabilities else []
            found = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
        told[depth] = found
        print(
            f"{options.side} x {options.side} x {depth}: peak {found['peak']:.0f} MiB, input and output volumes "
            f"{found['volumes']:.0f} MiB, working memory {found['working']:.0f} MiB, {found['seconds']:.1f} s"
        )
    thin, thick = (told[depth] for depth in options.depths)
    ratio = thick["working"] / thin["working"]
    print(f"working memory ratio {ratio:.2f}, limit {LIMIT}: {'kept' if ratio <= LIMIT else 'exceeded'}")
    each = [found["seconds"] / depth for depth, found in told.items()]
    print(f"time of a slice, ratio {each[1] / each[0]:.2f}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"side": options.side, "depths": told}, indent=1) + "\n", encoding="utf-8")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
