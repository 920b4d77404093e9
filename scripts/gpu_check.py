"""Every measurement that wants a GPU, in one go: under eight minutes on one card, nothing from the network.

    python scripts/gpu_check.py [--out gpu_check.json] [--rows encoder volume ...] [--minutes 8]
    python scripts/gpu_check.py --tiny --device cpu        every row on a processor, with tiny networks

Weights are random and images noise. Each row is a process of its own: one that fails or takes too long is told, and the
others go on; what it had measured until then is kept. The JSON is written after each row. Needed are amsam_monai with
what it depends on, and Triton, which comes with PyTorch.

Rows: `matmul`, the card's own rate in bfloat16; `encoder`, ViT-B at 1024 px in batches of 8, ours compiled and eager,
and segment-anything's; `aisam`, all classes at once beside loops of classes; `train_step`; `volume`, one volume of 100
slices, and `cohort`, several in a row with a compiled encoder, and the share of the time in which the network works;
`same`, the GPU's answers beside the processor's.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))  # they import each other by name

Found = Iterator[tuple[str, float | str]]


@dataclass(frozen=True)
class Size:
    """How large the rows are.

    Args:
        matmul: side of the matrices.
        backbone: of encoder, volume and cohort.
        side: of the encoder's square.
        batch: images at once.
        square: side of the square elsewhere.
        classes: of AI-SAM, background counted.
        shape: of volumes.
        volumes: of the cohort.
        rounds: that are timed.
        compile: how encoders are compiled; None is not.
    """

    matmul: int = 8192
    backbone: str = "vit_b"
    side: int = 1024
    batch: int = 8
    square: int = 512
    classes: int = 8
    shape: tuple[int, int, int] = (256, 256, 100)
    volumes: int = 8
    rounds: int = 10
    compile: str | None = "default"


TINY = Size(64, "vit_nano", 64, 2, 64, 3, (24, 20, 5), 2, 1, None)


def seconds_of(run: Callable[[], object], device: str, rounds: int) -> float:
    """The median, after two that do not count."""
    from sides import in_turn

    return median(in_turn({"it": run}, rounds, device=device, first=2)["it"])


def matmul(size: Size, device: str) -> Found:
    """What the card multiplies, in the shape that suits it best."""
    yield "tflops", matmul_rate(size, device) / 1e12


def matmul_rate(size: Size, device: str) -> float:
    """Floating point operations a second of square matrices in bfloat16."""
    import torch

    left, right = (torch.randn(size.matmul, size.matmul, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size.matmul**3 / seconds_of(lambda: left @ right, device, size.rounds)


def encoder(size: Size, device: str) -> Found:
    """Images a second, ours and segment-anything's, and the share of the card's rate."""
    import torch
    from segment_anything import sam_model_registry
    from torch.utils.flop_counter import FlopCounterMode

    from amsam_monai.networks.sam import build_sam
    from amsam_monai.segment.autocast import autocast

    ours = build_sam(size.backbone, image_size=size.side).image_encoder.to(device).eval()
    images = torch.rand(size.batch, 3, size.side, size.side, device=device)

    def rate(run: Callable[[], object], precision: str) -> float:
        with torch.inference_mode(), autocast(precision, torch.device(device)):
            return size.batch / seconds_of(run, device, size.rounds)

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        ours(images[:1])
    flops = counter.get_total_flops()
    yield "gflop_an_image", flops / 1e9
    yield "eager_bfloat16", rate(lambda: ours(images), "bfloat16")
    yield "eager_float32", rate(lambda: ours(images), "float32")
    if size.backbone == "vit_b":
        theirs = sam_model_registry["vit_b"]().image_encoder.to(device).eval()
        yield "segment_anything_bfloat16", rate(lambda: theirs(images), "bfloat16")
        yield "segment_anything_float32", rate(lambda: theirs(images), "float32")
        del theirs
    if size.compile is not None:
        begun = time.perf_counter()
        ours.compile(mode=size.compile)
        with torch.inference_mode(), autocast("bfloat16", torch.device(device)):
            ours(images)
        yield "seconds_to_compile", time.perf_counter() - begun
    compiled = rate(lambda: ours(images), "bfloat16")
    yield "compiled_bfloat16", compiled
    yield "share_of_matmul", compiled * flops / matmul_rate(size, device)


def aisam(size: Size, device: str) -> Found:
    """Seconds of a slice's prompts and masks from its embedding, and how much the loops take more."""
    import aisam_classes
    import torch
    from sides import in_turn

    from amsam_monai.segment.autocast import autocast

    for precision in ("float32", "bfloat16"):
        sides = aisam_classes.ways(size.classes, size.square, 1, device)
        with torch.inference_mode(), autocast(precision, torch.device(device)):
            times = in_turn(sides, size.rounds, device=device, first=2)
        once, loop, stock = (median(each) for each in times.values())
        yield f"seconds_{precision}", once
        yield f"loop_{precision}", loop / once
        yield f"stock_loop_{precision}", stock / once


def train_step(size: Size, device: str) -> Found:
    """Seconds of a step on cached embeddings, and how much segment-anything's parts take more."""
    import train_step as steps
    from sides import in_turn

    backbone = "vit_nano" if size == TINY else "vit_t"
    for precision in ("float32", "bfloat16"):
        sides = steps.steps(
            size.square, size.batch, 3, backbone=backbone, device=device, precision=precision, encoder=True
        )
        times = in_turn(sides, size.rounds, device=device, first=2)
        ours, theirs, with_encoder = (median(each) for each in times.values())
        yield f"seconds_{precision}", ours
        yield f"segment_anything_{precision}", theirs / ours
        yield f"with_encoder_{precision}", with_encoder / ours


def volume(size: Size, device: str, volumes: int = 1, compile: str | None = None) -> Found:
    """Seconds of a volume, and the share of the network."""
    import volume as bench

    times = bench.measure(
        size.backbone, size.square, size.shape, volumes, max(1, size.rounds // 5),
        device=device, precision="bfloat16", compile=compile,
    )  # fmt: skip
    run, one_by_one, network = (median(times[who]) for who in ("run", "one by one", "network"))
    yield "seconds", run / volumes
    yield "one_by_one", one_by_one / run
    yield "share_of_network", network / run
    yield "slices_a_second", volumes * size.shape[2] / run


def cohort(size: Size, device: str) -> Found:
    """The same with the next volume read and the last one written meanwhile, and a compiled encoder."""
    yield from volume(size, device, size.volumes, size.compile)


def same(size: Size, device: str) -> Found:
    """The largest difference of logits, and the share of pixels with another class, of device and processor."""
    import torch

    from amsam_monai.networks.sam import build_sam
    from amsam_monai.networks.systems.aisam import AISAM
    from amsam_monai.networks.systems.amsam import AMSAM
    from amsam_monai.networks.systems.autosam import build_autosam
    from amsam_monai.segment.slice_inferer import SliceInferer

    backbone = "vit_nano" if size == TINY else "vit_t"
    systems: dict[str, Callable[[Any], Any]] = {
        "amsam": lambda sam: AMSAM(sam, num_classes=3),
        "aisam": lambda sam: AISAM(sam, num_classes=3),
        "autosam": lambda sam: build_autosam(sam, backbone="sam", num_classes=3),
    }
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    image = torch.rand(2, 3, size.square, size.square)
    for name, system in systems.items():
        network = system(build_sam(backbone, image_size=size.square)).eval()
        with torch.inference_mode():
            here = network(image)
            there = network.to(device)(image.to(device)).cpu()
        yield f"{name}_logits", (here - there).abs().max().item()
        yield f"{name}_pixels", (here.argmax(1) != there.argmax(1)).float().mean().item()
    volume = torch.rand(1, 1, *size.shape[:2], min(20, size.shape[2]))
    masks = []
    for place in ("cpu", device):  # batches come back in their places
        inferer = SliceInferer(output="labels", batch_size=8, flips=("horizontal",))
        with torch.inference_mode():
            masks.append(inferer(volume, network.to(place)))
    yield "volume_pixels", (masks[0] != masks[1]).float().mean().item()


ROWS: dict[str, Callable[[Size, str], Found]] = {
    "matmul": matmul,
    "same": same,
    "encoder": encoder,
    "aisam": aisam,
    "train_step": train_step,
    "volume": volume,
    "cohort": cohort,
}


def measure(row: str, size: Size, device: str, out: Path) -> None:
    """Measure a row in this process; what is measured is written at once, and an error too."""
    import torch

    torch.manual_seed(0)
    found: dict[str, float | str] = {}
    try:
        for name, value in ROWS[row](size, device):
            found[name] = value
            out.write_text(json.dumps(found), encoding="utf-8")
    except Exception as error:
        traceback.print_exc()
        found["error"] = f"{type(error).__name__}: {error}"[:500]
    if device.startswith("cuda"):
        found["gib_at_most"] = torch.cuda.max_memory_allocated() / 2**30
    out.write_text(json.dumps(found), encoding="utf-8")


def machine(device: str) -> dict[str, str]:
    """The card's name, and what computes."""
    import torch

    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "a processor"
    return {"card": card, "torch": torch.__version__, "cuda": str(torch.version.cuda), "python": sys.version.split()[0]}


def table(told: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    lines = [f"{told['card']}, PyTorch {told['torch']}, {told['seconds']:.0f} s", ""]
    lines += ["| row | what | value |", "|---|---|--:|"]
    for row, found in told["rows"].items():
        for name, value in found.items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            lines.append(f"| {row} | {name.replace('_', ' ')} | {shown} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny networks and images, nothing compiled")
    parser.add_argument("--minutes", type=float, default=8, help="for all rows together")
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    parser.add_argument("--one", nargs=2, metavar=("ROW", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = TINY if options.tiny else Size()
    if options.one:
        measure(options.one[0], size, options.device, Path(options.one[1]))
        return 0
    begun = time.monotonic()
    told: dict[str, Any] = {**machine(options.device), "rows": {}}
    for row in options.rows:
        left = 60 * options.minutes - (time.monotonic() - begun)
        print(f"{row}, {left:.0f} s left", file=sys.stderr, flush=True)
        told["rows"][row] = in_a_process(row, options, left)
        told["seconds"] = round(time.monotonic() - begun, 1)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(table(told))
    return int(any("error" in found for found in told["rows"].values()))


def in_a_process(row: str, options: argparse.Namespace, left: float) -> dict[str, float | str]:
    """What a row measures in a process of its own, within the seconds that are left."""
    with tempfile.TemporaryDirectory(prefix="amsam-gpu-") as folder:
        file = Path(folder, "row.json")
        command = [sys.executable, __file__, "--one", row, str(file), "--device", options.device]
        try:
            done = subprocess.run(command + ["--tiny"] * options.tiny, timeout=max(1, left)).returncode
            error = f"ended by itself with code {done}" if done else ""
        except subprocess.TimeoutExpired:
            error = f"took more than the {left:.0f} s that were left"
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {**found, "error": error} if error else found


if __name__ == "__main__":
    raise SystemExit(main())
