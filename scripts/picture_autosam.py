"""A picture like AutoSAM's Fig. 4, on dermoscopy phantoms: image, light form, AutoSAM, truth.

python scripts/picture_autosam.py --bundle polyp_autosam_segmentation --out docs/images/autosam_phantoms.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.evaluation.picture_sheet import picture_sheet
from amsam_monai.phantoms.sets import lesion_phantoms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="polyp_autosam_segmentation", help="one of AutoSAM")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    net = load_bundle(args.bundle, device="cpu").network
    samples = [{"image": image, "label": label} for image, label in lesion_phantoms(4, side=400)]
    with whole_file(args.out) as partial:
        picture_sheet(net, samples).save(partial, optimize=True)


if __name__ == "__main__":
    main()
