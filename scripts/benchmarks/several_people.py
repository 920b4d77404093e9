"""What the other people on a photograph are worth: `objects: one` and `all`, at several floors, picture by picture.

    AMSAM_DATA=DIR python scripts/benchmarks/several_people.py --floors 0.25 0.6 --out runs/people.jsonl

The shipped adapter of human_amsam_segmentation, on the 60 pictures that no draw of human.json touches and on those from
191 on, most of which show several people. One embedding a picture; a line of JSON each, with the boxes' confidences.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor

from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.datasets import LoadCased, image_folder_datalist
from amsam_monai.data.sections import sections
from amsam_monai.networks.prompts import Prompts
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import ToThreeChannelsd

SEVERAL_FROM = 191
LEAST = 0.15  # confidence of the boxes that are looked at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--floors", type=float, nargs="+", default=[0.25, 0.6], help="of second and further people")
    parser.add_argument("--most", type=int, help="pictures of each kind, default all")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    cases = image_folder_datalist(Path(arguments.data or os.environ["AMSAM_DATA"]) / "human", preset="human")
    untouched = sections(cases, shots=8, draw=0, listed="human", validation=0)["test"]
    kinds = {
        "single": [case for case in untouched if int(case["case_id"]) < SEVERAL_FROM],
        "several": [case for case in cases if int(case["case_id"]) >= SEVERAL_FROM],
    }
    changes = {"arguments": {"objects": "all"}, "detector": {"object_confidence": LEAST}}
    network: Any = load_bundle("human_amsam_segmentation", settings=changes).network
    load = Compose([LoadCased(), Intensityd(mode="bit_depth"), ToThreeChannelsd()])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with arguments.out.open("w", encoding="utf-8") as file:
        for kind, chosen in kinds.items():
            for case in chosen[: arguments.most]:
                rows.append({"case": case["case_id"], "kind": kind, **scores(network, load(case), arguments.floors)})
                file.write(json.dumps(rows[-1]) + "\n")
                file.flush()
            told = [row for row in rows if row["kind"] == kind]
            names = ["one", *map(str, arguments.floors)]
            print(kind, len(told), {name: round(float(np.mean([row[name] for row in told])), 4) for name in names})


@torch.no_grad()
def scores(network: Any, sample: dict[str, Any], floors: list[float]) -> dict[str, Any]:
    """Dice with the surest box alone, and with all above each floor."""
    device = network.sam.pixel_mean.device
    image = torch.as_tensor(sample["image"])[None].float().to(device)
    label = torch.as_tensor(sample["label"])[0].to(device) > 0
    embedding = network.encode(image)
    found = network.segment(image, embedding=embedding)
    boxes, sure = found.prompts.object_boxes[0, 0], found.objects.confidence[0, 0, :-1].nan_to_num()

    def with_boxes(chosen: Tensor) -> float:
        prompts = Prompts(object_boxes=boxes[chosen][None, None]) if chosen.any() else None
        logits = network.segment(image, prompts, embedding).logits[0]
        mask = logits[1] > logits[0]
        return float(2 * (mask & label).sum() / (mask.sum() + label.sum()).clamp(min=1))

    first = torch.arange(len(sure), device=sure.device) == 0
    there = sure > 0
    told: dict[str, Any] = {"one": with_boxes(first & there)}
    for floor in floors:
        told[str(floor)] = with_boxes(there & (first | (sure >= floor)))
    return {**told, "confidence": [round(value, 3) for value in sure[there].tolist()]}


if __name__ == "__main__":
    main()
