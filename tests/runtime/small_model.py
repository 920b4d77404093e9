"""An exported model of one convolution, made by hand, and the same in PyTorch: what the runtime does round a graph."""

import json

import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.system import Prediction, System

SIDE, CELL = 64, 4
WEIGHT = torch.tensor([[0.0, 0.0, 0.0], [30.0, 10.0, 0.0], [0.0, 4.0, 8.0]])
BIAS = torch.tensor([0.0, -26.0, -3.0])
LABELS = {1: "liver", 2: "spleen"}


class Colours(System):
    """Classes by the mean colour of each cell."""

    def __init__(self):
        super().__init__(build_sam("vit_nano", image_size=SIDE), num_classes=2)

    def predict(self, pixels, embedding, prompts, frame, classes=None):
        return Prediction(F.conv2d(F.avg_pool2d(pixels, CELL), WEIGHT[..., None, None], BIAS), Prompts())


def write_exported(folder, **changes):
    """The folder that `amsam export --format onnx` would write of `Colours`; `changes` go into settings.json."""
    folder.mkdir(parents=True)
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3, SIDE // CELL, SIDE // CELL])
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Conv", ["cells", "weight", "bias"], ["logits"]),
    ]
    values = [
        numpy_helper.from_array(WEIGHT[..., None, None].numpy(), "weight"),
        numpy_helper.from_array(BIAS.numpy(), "bias"),
    ]
    graph = helper.make_graph(nodes, "colours", [pixels], [logits], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "automatic.onnx")
    settings = {
        "format": "amsam_monai.export/1",
        "runtime": "onnx",
        "labels": {str(index): name for index, name in LABELS.items()},
        "written_values": {"1": 6, "2": 300},
        "largest_component": [],
        "intensity": {"mode": "percentile"},
        "slices": {"axis": "thickest", "orientation": "radiological", "batch_size": 3, "neighbours": 0, "flips": []},
        "networks": [network()],
    }
    settings = {**settings, **changes}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def network():
    """What settings.json says of the network."""
    fill = build_sam("vit_nano", image_size=SIDE).fill.flatten().tolist()
    graph = {"file": "automatic.onnx", "inputs": ["pixels"], "outputs": ["logits"]}
    return {"size": SIDE, "resize": "pad", "fill": fill, "graphs": {"automatic": graph}}
