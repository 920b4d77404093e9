"""What `POST /train` of a MONAI Label server gains, over HTTP: labels saved, trained on, and the new weights served.

AMSAM_DATA=DIR python scripts/benchmarks/label_training.py --bundle isic_amsam_segmentation --cases 8
AMSAM_DATA=DIR python scripts/benchmarks/label_training.py --bundle acdc_aisam_segmentation --cases 8

Starts a server of its own in a folder that it removes. isic: labelled are images neither held out nor in draw 0,
which trained the bundle; scored are those held out. acdc: labelled are volumes of the first validation patients, scored
those of the others. Dice is strict, at native size, the mean over classes and images.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import requests
from PIL import Image

from amsam_monai.bundles.find import find_bundle
from amsam_monai.bundles.load import class_names, read_metadata
from amsam_monai.data.datasets import acdc_datalist, isic_datalist
from amsam_monai.data.files.images import read_label
from amsam_monai.data.sections import sections as cut
from amsam_monai.data.splits import held_out_ids, support_ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="of ISIC or ACDC")
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--cases", type=int, default=8, help="images that are labelled")
    parser.add_argument("--scored", type=int, default=25, help="most images that are scored")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = options.data or Path(os.environ["AMSAM_DATA"])
    labelled, scored = isic(data) if options.bundle.startswith("isic") else acdc(data)
    labelled, scored = labelled[: options.cases], scored[: options.scored]
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder)
        for case in labelled + scored:
            shutil.copy(case["image"], studies)
        process, url = start(studies, options.bundle)
        try:
            print(json.dumps(run(url, process, options, labelled, scored)))
        finally:
            process.terminate()
            process.wait(60)


def isic(data: Path) -> tuple[list, list]:
    cases = isic_datalist(data / "isic")
    held_out, trained = set(held_out_ids("isic")), set(support_ids("isic", shots=16, draw=0))
    free = [case for case in cases if case["case_id"] not in held_out | trained]
    return free, [case for case in cases if case["case_id"] in held_out]


def acdc(data: Path) -> tuple[list, list]:
    cases = cut(acdc_datalist(data / "acdc"), listed="acdc")["test"]
    patients = list(dict.fromkeys(case["patient_id"] for case in cases))
    first = set(patients[: len(patients) // 2])
    return [c for c in cases if c["patient_id"] in first], [c for c in cases if c["patient_id"] not in first]


def start(studies: Path, bundle: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "amsam_monai", "label", "start", str(studies), "--bundle", bundle]
    with open(studies / "server.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        time.sleep(1)
        try:
            requests.get(f"{url}/info/", timeout=60)
            return process, url
        except requests.ConnectionError:
            continue
    raise RuntimeError((studies / "server.log").read_text(encoding="utf-8")[-3000:])


def run(url: str, process: subprocess.Popen[bytes], options: argparse.Namespace, labelled: list, scored: list) -> dict:
    root = find_bundle(options.bundle)
    labels, name = class_names(root, read_metadata(root)), root.name
    for case in labelled:
        save(url, case, labels)
    before = [dice(url, name, case, labels) for case in scored]
    request = {"max_epochs": options.epochs, "val_split": 0, "seed": options.seed}
    begin = time.perf_counter()
    requests.post(f"{url}/train/{name}", json=request, timeout=60).raise_for_status()
    while (task := requests.get(f"{url}/train/", timeout=60).json())["status"] not in ("DONE", "ERROR"):
        time.sleep(1)
    seconds = time.perf_counter() - begin
    if task["status"] == "ERROR":
        raise RuntimeError(json.dumps(task)[-3000:])
    begin = time.perf_counter()
    after = [dice(url, name, case, labels) for case in scored]
    return {
        "bundle": name,
        "labelled": len(labelled),
        "scored": len(scored),
        "dice_before": round(float(np.mean(before)), 4),
        "dice_after": round(float(np.mean(after)), 4),
        "train_seconds": round(seconds, 1),
        "seconds_per_image_after": round((time.perf_counter() - begin) / len(scored), 2),
        "seed": options.seed,
    }


def truth_of(case: dict, classes: int) -> np.ndarray:
    label = read_label(case["label"]).array
    return np.minimum(label, 1) if classes == 1 else label


def save(url: str, case: dict, labels: dict[int, str]) -> None:
    """`PUT /datastore/label`, as a person's final label."""
    truth = truth_of(case, len(labels)).astype(np.uint8)
    if truth.ndim == 2:
        Image.fromarray(truth).save(file := io.BytesIO(), format="PNG")
        upload = ("label.png", file.getvalue())
    else:
        volume = nib.Nifti1Image(truth, nib.load(case["image"]).affine)
        upload = ("label.nii.gz", gzip.compress(volume.to_bytes()))
    info = {"label_info": [{"name": label, "idx": index} for index, label in labels.items()]}
    address = f"{url}/datastore/label?image={image_id(case)}&tag=final"
    requests.put(address, files={"label": upload}, data={"params": json.dumps(info)}, timeout=60).raise_for_status()


def image_id(case: dict) -> str:
    return Path(case["image"]).name.split(".")[0]


def dice(url: str, name: str, case: dict, labels: dict[int, str]) -> float:
    """Of the automatic segmentation, mean over the classes in the truth."""
    answer = requests.post(
        f"{url}/infer/{name}?image={image_id(case)}&output=image", data={"params": "{}"}, timeout=600
    )
    answer.raise_for_status()
    truth = truth_of(case, len(labels))
    if truth.ndim == 2:
        found = np.asarray(Image.open(io.BytesIO(answer.content)))
    else:
        found = np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(answer.content)).dataobj)
    pairs = [(found == index, truth == index) for index in labels if (truth == index).any()]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


if __name__ == "__main__":
    main()
