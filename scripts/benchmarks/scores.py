"""Seconds to score a 512 x 512 x 300 volume of 8 organs in all metrics, ours and medpy's, in one run.

    python scripts/benchmarks/scores.py                 # medpy on each organ's crop (generous to it), about a minute
    python scripts/benchmarks/scores.py --full-medpy    # medpy on the whole volume, as it is used; many minutes
    python scripts/benchmarks/scores.py --libraries     # one organ's distances by each library, to choose between them

Exit code 1 if ours takes more than --limit seconds, is less than --factor times faster, or the numbers differ.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from amsam_monai.evaluation.scoring.case_scores import score_case
from amsam_monai.evaluation.scoring.surface import border, joint_box, surface_distances

SPACING_MM = (0.76, 0.76, 1.5)
# organ: centre and semi-axes in millimetres from the volume's middle, about an adult's
ORGANS = {
    "aorta": ((0, 45, 0), (11, 11, 190)),
    "gallbladder": ((-55, -35, 10), (15, 20, 28)),
    "left kidney": ((65, 50, -10), (27, 24, 55)),
    "right kidney": ((-62, 52, -25), (26, 24, 54)),
    "liver": ((-60, -15, 85), (95, 80, 80)),
    "pancreas": ((10, 5, 15), (65, 14, 16)),
    "spleen": ((95, 40, 90), (28, 42, 55)),
    "stomach": ((45, -30, 75), (50, 38, 45)),
}


def phantom(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A label with lumpy organs, and a prediction that is shifted, lumpy in its own way, and has specks."""
    rng = np.random.default_rng(seed)
    label, pred = np.zeros((2, *shape), np.uint8)
    for index, (centre, axes) in enumerate(ORGANS.values(), start=1):
        paint(label, index, np.array(centre, float), np.array(axes, float), rng)
        paint(pred, index, centre + rng.normal(0, 1.5, 3), axes * rng.normal(1, 0.04, 3), rng)
    for index in rng.integers(1, len(ORGANS) + 1, 12):  # false blobs of 2 cm away from their organ
        paint(pred, int(index), rng.uniform(-90, 90, 3), np.full(3, 9.0), rng)
    return pred, label


def paint(volume: np.ndarray, index: int, centre: np.ndarray, axes: np.ndarray, rng: np.random.Generator) -> None:
    """Draw one lumpy ellipsoid."""
    spacing = np.array(SPACING_MM)
    middle = np.array(volume.shape) / 2 + centre / spacing
    low = np.maximum((middle - 1.25 * axes / spacing).astype(int), 0)
    high = np.minimum((middle + 1.25 * axes / spacing).astype(int) + 1, volume.shape)
    box = tuple(slice(*ends) for ends in zip(low, high, strict=True))
    grid = np.ogrid[box]
    radius = sum(((line - m) * s / a) ** 2 for line, m, s, a in zip(grid, middle, spacing, axes, strict=True))
    coarse = rng.normal(size=tuple(-(-int(n) // 8) for n in high - low))
    lumps = np.kron(gaussian_filter(coarse, 1.0), np.ones((8, 8, 8)))[tuple(slice(0, n) for n in radius.shape)]
    volume[box][radius + 0.5 * gaussian_filter(lumps, 3) < 1] = index


def medpy_scores(pred: np.ndarray, label: np.ndarray, crop: bool) -> dict[str, dict[str, float]]:
    """Dice, IoU, sensitivity, precision, HD95 and ASSD of every organ by medpy."""
    from medpy.metric import binary

    table = {}
    for index, name in enumerate(ORGANS, start=1):
        masks = pred == index, label == index
        if crop:
            box = joint_box(*masks)
            masks = masks[0][box], masks[1][box]
        table[name] = {
            "dice": binary.dc(*masks),
            "iou": binary.jc(*masks),
            "sensitivity": binary.sensitivity(*masks),
            "precision": binary.precision(*masks),
            "hd95_mm": binary.hd95(*masks, SPACING_MM),
            "assd_mm": binary.assd(*masks, SPACING_MM),
        }
        print(f"  medpy {name}: dice {table[name]['dice']:.3f}, hd95 {table[name]['hd95_mm']:.2f} mm", flush=True)
    return table


def compare_libraries(pred: np.ndarray, label: np.ndarray) -> None:
    """One large organ's surface distances by each library, in seconds."""
    index = list(ORGANS).index("liver") + 1
    masks = pred == index, label == index
    box = joint_box(*masks)
    masks = np.ascontiguousarray(masks[0][box]), np.ascontiguousarray(masks[1][box])
    print(f"liver in its box {masks[0].shape}, both directions:")
    for name, function in (
        ("scipy k-d tree (ours)", lambda: surface_distances(*masks, SPACING_MM)),
        ("scipy distance transform", lambda: by_transform(*masks)),
        ("MONAI", lambda: by_monai(*masks)),
        ("surface-distance", lambda: by_surface_distance(*masks)),
    ):
        print(f"  {name}: {timed(name, function)}")


def timed(name: str, function: Callable[[], object]) -> str:
    """Seconds of a call, or why it failed."""
    start = time.perf_counter()
    try:
        function()
    except Exception as error:  # an abandoned library may not run at all, which is an answer too
        return f"{type(error).__name__}: {error}"
    return f"{time.perf_counter() - start:.2f} s"


def by_transform(pred: np.ndarray, label: np.ndarray) -> None:
    edges = border(pred), border(label)
    for start, goal in (edges, edges[::-1]):
        distance_transform_edt(~goal, sampling=SPACING_MM)[start]


def by_monai(pred: np.ndarray, label: np.ndarray) -> None:
    import torch
    from monai.metrics.utils import get_edge_surface_distance

    get_edge_surface_distance(torch.from_numpy(pred), torch.from_numpy(label), spacing=SPACING_MM, symmetric=True)


def by_surface_distance(pred: np.ndarray, label: np.ndarray) -> None:
    from surface_distance import compute_surface_distances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compute_surface_distances(label, pred, SPACING_MM)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--full-medpy", action="store_true", help="medpy on the whole volume")
    parser.add_argument("--libraries", action="store_true", help="compare libraries for the distances, nothing else")
    parser.add_argument("--workers", type=int, default=2, help="threads of ours")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds allowed")
    parser.add_argument("--factor", type=float, default=5.0, help="times faster than medpy at least")
    options = parser.parse_args()
    pred, label = phantom(tuple(options.shape))
    sizes = np.bincount(label.ravel(), minlength=len(ORGANS) + 1)[1:] * np.prod(SPACING_MM) / 1000
    print(f"volume {label.shape}, organs of {sizes.min():.0f} to {sizes.max():.0f} ml, {os.cpu_count()} cores")
    if options.libraries:
        compare_libraries(pred, label)
        return 0
    labels = dict(enumerate(ORGANS, start=1))
    start = time.perf_counter()
    scores = score_case(pred, label, labels, spacing_mm=SPACING_MM, workers=options.workers)
    ours = time.perf_counter() - start
    print(f"ours: {ours:.1f} s, 8 classes, {len(scores[0].values)} metrics, {options.workers} threads", flush=True)
    start = time.perf_counter()
    theirs = medpy_scores(pred, label, crop=not options.full_medpy)
    medpy = time.perf_counter() - start
    kind = "whole volume" if options.full_medpy else "crops"
    print(f"medpy on {kind}: {medpy:.1f} s, 6 metrics (it has no NSD); ours is {medpy / ours:.1f} times faster")
    worst = max(abs(score.values[name] - value) for score in scores for name, value in theirs[score.label].items())
    print(f"largest difference between the two: {worst:.1e}")
    return int(ours > options.limit or medpy < options.factor * ours or worst > 1e-6)


if __name__ == "__main__":
    sys.exit(main())
