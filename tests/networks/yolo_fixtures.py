"""A YOLO26 and a YOLOv8 narrow enough for tests, with random weights, as Ultralytics would save them."""

from pathlib import Path

import torch

NARROW = {"n": [0.34, 0.0625, 256]}


def write_tiny_yolo(folder: Path, family: str = "yolo26", classes: int = 80) -> Path:
    """An Ultralytics checkpoint of a tiny detector."""
    from amsam_monai.networks.detector.yolo import ultralytics_module

    tasks = ultralytics_module("nn.tasks")
    folders = {"yolo26": "26", "yolov8": "v8"}
    root = Path(ultralytics_module("nn").__file__).parents[1] / "cfg" / "models" / folders[family]
    config = tasks.yaml_model_load(root / f"{family}.yaml")
    torch.manual_seed(0)
    model = tasks.DetectionModel({**config, "scales": NARROW, "scale": "n", "nc": classes}, ch=3, verbose=False)
    model.names = {index: f"thing {index}" for index in range(classes)}
    path = folder / f"{family}.pt"
    torch.save({"model": model.half(), "ema": None, "epoch": 1}, path)
    return path
