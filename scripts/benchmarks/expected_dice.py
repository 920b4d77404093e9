"""How well does a bundle know where it is wrong? Calibrated on a few patients, asked of the others.

python scripts/benchmarks/expected_dice.py --bundle acdc_autosam_segmentation --data $AMSAM_DATA/acdc \
    --ids validation.txt --calibrate 5 --out runs/expected

Every case is segmented once and kept; then, in each draw, the masks of some patients calibrate, and those of the others
are judged. `--ids` lists patients or cases that did not train the bundle.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.datasets.load_cased import LoadCased
from amsam_monai.data.datasets.own import own_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import read_image
from amsam_monai.data.ids import cases_of, read_ids
from amsam_monai.evaluation.scoring.expected import judge_expected
from amsam_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID
from amsam_monai.segment.calibration import Mask, expected_dice, fit_quality
from amsam_monai.segment.doubt import known_masks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--data", type=Path, required=True, help="as `amsam prepare own` takes it")
    parser.add_argument("--ids", type=Path, help="file of ids, one a line or a JSON list; by default all")
    parser.add_argument("--calibrate", type=int, default=5, help="patients")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    masks = all_masks(args)
    patients = sorted({mask.case for mask in masks})
    found: dict[str, list[dict[str, float]]] = {}
    for draw in range(args.draws):
        chosen = set(np.random.default_rng(draw).choice(patients, args.calibrate, replace=False))
        block = fit_quality([mask for mask in masks if mask.case in chosen])
        for part in block:
            rest = [m for m in masks if m.case not in chosen and (m.slice is None) == (part == "case")]
            dice = np.array([mask.dice for mask in rest])
            told = np.array([expected_dice(mask.features, mask.label, block[part]) for mask in rest])
            within = float(np.mean(np.abs(told[:, 0] - dice) <= told[:, 1]))
            found.setdefault(part, []).append({**judge_expected(told[:, 0], dice), "within_error": within})
            raw = np.nan_to_num([mask.features["confidence"] for mask in rest], nan=1.0)  # a class without a voxel
            found.setdefault(f"{part}, not calibrated", []).append(judge_expected(raw, dice))
    for part, rows in found.items():
        print(part)
        for name in rows[0]:
            values = [row[name] for row in rows]
            print(f"  {name:13} {np.nanmean(values):.3f} ± {np.nanstd(values):.3f}")


def all_masks(args: argparse.Namespace) -> list[Mask]:
    """The masks of all cases, those of an earlier run as they were kept."""
    bundle = load_bundle(args.bundle)
    kept = args.out / f"{bundle.name}.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    segmenter = bundle.segmenter()
    load = LoadCased(classes=bundle.settings.classes if bundle.settings else None)
    cases = own_datalist(args.data, check="names")
    ids = read_ids(args.ids)
    for case in cases if ids is None else cases_of(cases, ids):
        name = str(case[CASE_ID])
        if name not in known:
            result = segmenter(read_image(case[IMAGE]), quality=True)
            masks = known_masks(result, np.asarray(load(case)[LABEL])[0], str(case[PATIENT_ID]))
            known[name] = [asdict(mask) for mask in masks]
            with whole_file(kept) as partial:
                partial.write_text(json.dumps(known), encoding="utf-8")
            print(name, [round(mask.dice, 3) for mask in masks if mask.slice is None], flush=True)
    return [Mask(**mask) for masks in known.values() for mask in masks]


if __name__ == "__main__":
    main()
