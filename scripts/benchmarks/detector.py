"""Measure the YOLO detector on held-out images: recall and overlap of its boxes, per number of training images.

python scripts/benchmarks/detector.py --data DIR --dataset isic --shots 4 8 16 --draws 3 --out bench

DIR/<dataset> holds the images. Support and held-out images are those of data/splits. A run that was interrupted goes on
where it stopped; the table is printed and kept beside the record OUT/detector_*.json. Recall and precision of each
object, by size and by number in the image, are in the record. two_detectors.py compares it with the other detector.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from amsam_monai.data.datasets import LoadCased
from amsam_monai.data.prepare.prepare import find_dataset
from amsam_monai.data.sections import sections as cut
from amsam_monai.engines.detector_training import DetectorSettings, train_detector
from amsam_monai.networks.detector.detector import pretrained_detector
from amsam_monai.networks.detector.scores import score_detector, score_objects
from amsam_monai.networks.weights import store as weights
from amsam_monai.transforms.sam_input import three_channels

COLUMNS = ("mean IoU", "recall 0.5", "recall 0.75", "seconds")


def read(cases):
    load = LoadCased()
    for case in cases:
        sample = load(case)
        yield three_channels(sample["image"] / 255), sample["label"]


def scored(detector, cases, seconds):
    images, labels = zip(*read(cases), strict=True)
    score = score_detector(detector, images, labels)
    told = dict(zip(COLUMNS, (score.mean_iou, score.recall(0.5), score.recall(0.75), seconds), strict=True))
    return {**told, "objects": score_objects(detector, images, labels).groups()}


def one_run(options, datalist, shots, draw):
    sections = cut(datalist, shots=shots, draw=draw, listed=options.dataset)
    images, labels = zip(*read(sections["train"]), strict=True)
    settings = {
        name: getattr(options, name) for name in ("steps", "learning_rate", "image_size") if getattr(options, name)
    }
    extra = read(find_images(options.extra, "isic")) if options.extra else ()
    begin = time.perf_counter()
    detector = train_detector(
        images, labels, 1, start=options.start_file, extra=extra, settings=DetectorSettings(**settings, seed=draw)
    )
    return scored(detector, sections["test"], time.perf_counter() - begin)


def zero_shot(options, datalist):
    detector = pretrained_detector(options.start_file, classes=[options.zero_shot_class], image_size=448)
    return scored(detector, cut(datalist, shots=4, listed=options.dataset)["test"], 0.0)


def find_images(folder, dataset):
    return [
        {"image": case.image, "label": case.label, "label_rule": case.rule, "case_id": case.case_id}
        for case in find_dataset(dataset, folder).cases
    ]


def table(results):
    lines = ["| images | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for shots in dict.fromkeys(key.split("/")[0] for key in results):
        runs = [run for key, run in results.items() if key.split("/")[0] == shots]
        cells = [
            f"{statistics.mean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}"
            for values in ([run[column] for run in runs] for column in COLUMNS)
        ]
        lines.append(f"| {shots} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dataset", required=True, choices=["isic", "human", "kvasir", "glas", "tiktok"])
    parser.add_argument("--shots", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", default="yolo26n", help="catalogued YOLO, or the file of a detector")
    parser.add_argument("--extra", type=Path, help="folder of phantoms in the ISIC layout that are mixed in")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--zero-shot-class", type=int, help="also score this class of the pretrained YOLO as it is")
    options = parser.parse_args()
    options.start_file = weights.fetch(options.start) if options.start in weights.CATALOGUE else options.start

    datalist = find_images(options.data / options.dataset, options.dataset)
    options.out.mkdir(parents=True, exist_ok=True)
    how = Path(options.start).stem + ("_extra" if options.extra else "")
    record = options.out / f"detector_{options.dataset}_{how}.json"
    results = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    if options.zero_shot_class is not None and "none/0" not in results:
        results["none/0"] = zero_shot(options, datalist)
    for shots in options.shots:
        for draw in range(options.draws):
            key = f"{shots}/{draw}"
            if key not in results:
                results[key] = one_run(options, datalist, shots, draw)
                record.write_text(json.dumps(results, indent=1), encoding="utf-8")
                print(key, {name: round(results[key][name], 3) for name in COLUMNS}, flush=True)
    record.with_suffix(".md").write_text(table(results), encoding="utf-8")
    print(f"{options.dataset}, start {options.start}, torch {torch.__version__}\n\n{table(results)}")


if __name__ == "__main__":
    main()
