"""YOLO and the detector that reads SAM's embedding, on one segmenter: box IoU, recall per object, Dice, seconds.

    AMSAM_DATA=DIR python scripts/benchmarks/two_detectors.py --dataset kvasir --out runs/detectors

Both are fitted on the same eight images without phantoms, and asked by the same adapter, whose training sees simulated
boxes and none of theirs: the shipped one for humans and lesions, none for polyps (MobileSAM as it is). One JSON a data
set; an interrupted run goes on with the next image. Dice with the surest box alone (one) and with all above the floor.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor, nn

from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.datasets import LoadCased, image_folder_datalist, isic_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.sections import sections
from amsam_monai.engines.detector_training import DetectorSettings, train_detector
from amsam_monai.engines.embedding_detector_training import EmbeddingDetectorSettings, train_embedding_detector
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.networks.detector.detector import pretrained_detector
from amsam_monai.networks.detector.embedding import boxes_of
from amsam_monai.networks.detector.files import load_detector, save_detector
from amsam_monai.networks.detector.scores import ObjectScore, score_objects
from amsam_monai.networks.prompts.boxes import box_iou, class_boxes
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.weights import store
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import ToThreeChannelsd

KINDS = ("yolo", "embedding")
FLOORS = {("human", "yolo"): {"object_confidence": 0.6}}  # the bundle's, where it is not the detector's own
ADAPTERS = {"human": "human_amsam_segmentation", "isic": "isic_amsam_segmentation"}
PLAIN = {"arguments": {"dark_object_weight": 0.0}, "slices": {"flips": []}}
SEVERAL_FROM = 191  # of humans


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--dataset", required=True, choices=["human", "isic", "kvasir"])
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--most", type=int, help="images that are scored, of humans of either kind; default all")
    parser.add_argument("--steps", type=int, help="of the embedding detector's fit")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(arguments.data or os.environ["AMSAM_DATA"])
    train, test = cases_of(root, arguments)
    network = segmenter(arguments.dataset)
    load = Compose([LoadCased(), Intensityd(mode="bit_depth"), ToThreeChannelsd()])
    record = arguments.out / f"{arguments.dataset}_{arguments.draw}.json"
    known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {"cases": {}}
    arguments.out.mkdir(parents=True, exist_ok=True)
    detectors = {kind: Asked(fitted(kind, network, [*map(load, train)], arguments, known)) for kind in KINDS}
    known["train"] = [str(case["case_id"]) for case in train]
    for case in test:
        name = str(case["case_id"])
        if name not in known["cases"]:
            known["cases"][name] = scored(network, detectors, load(case))
            write(record, known)
    known["summary"] = summary(known["cases"], arguments.dataset)
    write(record, known)
    print(json.dumps({"fits": known["fits"], **known["summary"]}, indent=1))


def cases_of(root: Path, arguments: argparse.Namespace) -> tuple[list[Any], list[Any]]:
    """Eight cases that train, and those that are scored."""
    name = arguments.dataset
    folder = root / name
    cases = isic_datalist(folder) if name == "isic" else image_folder_datalist(folder, preset=name)
    if name == "kvasir":
        task = json.loads((root / "own_tasks.json").read_text(encoding="utf-8"))["tasks"]["kvasir"]
        by_id = {str(case["case_id"]): case for case in cases}
        return [by_id[one] for one in task["train"]], [by_id[one] for one in task["test"]][: arguments.most]
    parts = sections(cases, shots=8, draw=arguments.draw, listed=name, validation=0)
    if name == "isic":
        return parts["train"], parts["test"][: arguments.most]
    several = [case for case in cases if int(case["case_id"]) >= SEVERAL_FROM]
    return parts["train"], parts["test"][: arguments.most] + several[: arguments.most]


def segmenter(dataset: str) -> Any:
    """The adapter that both detectors prompt."""
    if dataset in ADAPTERS:
        network: Any = load_bundle(ADAPTERS[dataset], settings=PLAIN).network
    else:
        sam = build_sam("vit_t", weights="mobile_sam", image_size=512)
        network = AMSAM(sam, calibration="none", lora_rank=0)
    return network.eval()


def fitted(kind: str, network: Any, samples: list[Any], arguments: argparse.Namespace, known: dict[str, Any]) -> Any:
    """A detector of the draw, from its file where it is there."""
    path = arguments.out / f"{arguments.dataset}_{arguments.draw}_{kind}.pth"
    floors = FLOORS.get((arguments.dataset, kind), {})
    if path.is_file():
        return load_detector(path, **floors)
    images, labels = [s["image"].as_tensor() for s in samples], [s["label"].as_tensor() for s in samples]
    per = "class" if arguments.dataset == "isic" else "component"
    begun, used = time.perf_counter(), time.process_time()
    if kind == "embedding":
        given = {"steps": arguments.steps} if arguments.steps else {}
        settings = EmbeddingDetectorSettings(per=per, seed=arguments.draw, **given)
        cache = embedding_cache(network, fixed=True)
        detector: Any = train_embedding_detector(images, labels, 1, sam=network.sam, cache=cache, settings=settings)
    elif arguments.dataset == "human":
        detector = pretrained_detector(store.path("yolo26n"), classes=[0], image_size=448)
    else:
        settings = DetectorSettings(per=per, seed=arguments.draw)
        detector = train_detector(images, labels, 1, start=store.path("yolo26n"), settings=settings)
    spent = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - used}
    known.setdefault("fits", {})[kind] = {**spent, "cases": len(samples)}
    save_detector(detector, path)
    known["fits"][kind]["megabytes"] = path.stat().st_size / 1e6
    write(arguments.out / f"{arguments.dataset}_{arguments.draw}.json", known)
    return load_detector(path, **floors)


class Asked(nn.Module):
    """A detector that remembers what it answered, and how long that took."""

    reads_embedding = True  # the answer with or without

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector, self.answer, self.seconds = detector, (torch.empty(0), torch.empty(0)), 0.0

    def objects(self, image: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        begun = time.process_time()
        self.answer = boxes_of(self.detector, image, embedding, objects=True)
        self.seconds = time.process_time() - begun
        return self.answer

    def forward(self, image: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        boxes, confidence = self.objects(image, embedding)
        return boxes[:, :, 0], confidence[:, :, 0]


class Answer(nn.Module):
    """Boxes that are there already."""

    num_classes = 1

    def __init__(self, boxes: Tensor, confidence: Tensor) -> None:
        super().__init__()
        self.boxes, self.confidence = boxes, confidence

    def objects(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.boxes, self.confidence


@torch.no_grad()
def scored(network: Any, detectors: dict[str, Asked], sample: Any) -> dict[str, Any]:
    """Of each detector: IoU of the surest box with that of the class, rows of objects, Dice."""
    image, label = sample["image"].as_tensor()[None].float(), sample["label"].as_tensor()
    mask, embedding = label[0] > 0, network.encode(image)
    told: dict[str, Any] = {}
    for kind, detector in detectors.items():
        network.detector, row = detector, {}
        for several in (False, True):
            network.several = [several]
            logits = network.segment(image, embedding=embedding).logits[0]
            found = logits[1] > logits[0]
            row["all" if several else "one"] = float(2 * (found & mask).sum() / (found.sum() + mask.sum()).clamp(min=1))
        boxes = network.frame(image).boxes_back(detector.answer[0])
        row["iou"] = float(box_iou(boxes[0, :, 0], class_boxes(label[None], 1)[0])[0])
        row["confidence"] = [round(value, 3) for value in detector.answer[1][0, 0].tolist()]
        objects = score_objects(Answer(boxes, detector.answer[1]), image, [label], min_pixels=64)  # type: ignore[arg-type]
        row["objects"] = {name: np.asarray(values).astype(float).tolist() for name, values in vars(objects).items()}
        told[kind] = {**row, "seconds": detector.seconds}
    return told


def summary(rows: dict[str, Any], dataset: str) -> dict[str, Any]:
    """Means of all images, and of humans of those with several people apart."""
    parts = {"all images": list(rows)}
    if dataset == "human":
        parts["single"] = [name for name in rows if int(name) < SEVERAL_FROM]
        parts["several"] = [name for name in rows if int(name) >= SEVERAL_FROM]
    told: dict[str, Any] = {}
    for part, names in parts.items():
        for kind in KINDS:
            own = [rows[name][kind] for name in names]
            numbers = {key: float(np.mean([row[key] for row in own])) for key in ("one", "all", "iou", "seconds")}
            numbers["iou >= 0.5"] = float(np.mean([row["iou"] >= 0.5 for row in own]))
            joined = {
                key: np.concatenate([np.array(row["objects"][key]) for row in own])
                for key in ObjectScore.__dataclass_fields__
            }
            groups = ObjectScore(**joined).groups()
            told.setdefault(part, {})[kind] = {**numbers, "images": len(names), "objects": _without_nan(groups)}
        differences = [rows[name]["embedding"]["one"] - rows[name]["yolo"]["one"] for name in names]
        told[part]["embedding - yolo, one"] = [float(np.mean(differences)), float(np.std(differences))]
    return told


def _without_nan(groups: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: None if math.isnan(value) else round(value, 3) for key, value in row.items()}
        for name, row in groups.items()
        if row["objects"] or row["boxes"]
    }


def write(path: Path, content: dict[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
