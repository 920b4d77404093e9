"""Send the least certain volumes to a (simulated) person first: how many corrections until mean Dice reaches 0.95?

python scripts/benchmarks/active_learning.py --bundle acdc_aisam_segmentation --data $AMSAM_DATA/acdc --out runs/active

Every volume of a section is segmented and judged as `least_certain` does (five slices), without looking at its label.
The person is the ground truth: a corrected volume has Dice 1. Volumes that are done are not done again,
unless the weights changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np

from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.datasets import acdc_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import read_label
from amsam_monai.evaluation.prompting.correction_curve import correction_curves, plot_corrections
from amsam_monai.evaluation.scoring.overlap import count_overlap, dice
from amsam_monai.segment.ranking import certainty
from amsam_monai.session.session import InteractiveSession


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--data", type=Path, required=True, help="ACDC")
    parser.add_argument("--section", default="validation", choices=("validation", "test"))
    parser.add_argument("--dice", type=Path, help="rows/automatic.json of aisam.py: volumes scored there already")
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--out", type=Path, required=True, help="folder of curve.json and curve.png")
    args = parser.parse_args()
    cases = segment_all(args)
    found = correction_curves(
        {name: case["dice"] for name, case in cases.items()},
        {name: case["certainty"] for name, case in cases.items()},
        target=args.target,
    )
    facts = {"bundle": args.bundle, "section": args.section, "volumes": len(cases), **found.to_json()}
    write_json(args.out / "curve.json", facts)
    title = f"{Path(args.bundle).name}, {len(cases)} {args.section} volumes of ACDC"
    plot_corrections(found, args.out / "curve.png", target=args.target, title=title)
    print(f"mean Dice of {len(cases)} volumes before correction: {found.chosen[0]:.4f}")
    print(f"corrections until {args.target}: {found.needed}, random sd {found.random_needed_sd:.2f}")
    print(f"random orders that need more than least certain first: {found.draws_behind:.1%}")


def segment_all(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Dice and certainty of each volume; kept after each, so that an interrupted run goes on with the same weights."""
    bundle = load_bundle(args.bundle)
    weights = hashlib.sha256((bundle.root / "models" / "model.pt").read_bytes()).hexdigest()[:12]
    kept = args.out / f"{args.section}-{weights}.json"
    cases: dict[str, dict[str, float]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    scored = json.loads(args.dice.read_text(encoding="utf-8")) if args.dice else {}
    session = InteractiveSession.of_bundle(bundle)
    for entry in acdc_datalist(args.data, section=args.section, check="names"):
        name = str(entry["case_id"])
        if name in cases:
            continue
        start = time.perf_counter()
        session.open(entry["image"])
        if scored:
            scores = [scored[label][name] for label in session.labels.values()]
        else:
            session.segment("all")
            truth = read_label(entry["label"]).array
            scores = [dice(count_overlap(session.label == index, truth == index)) for index in session.labels]
        cases[name] = {"dice": float(np.mean(scores)), "certainty": certainty(session)}
        write_json(kept, cases)
        print(name, cases[name], f"{time.perf_counter() - start:.1f} s", flush=True)
    return cases


def write_json(path: Path, content: object) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
