"""A whole system as TorchScript, images of any size in, as MONAI's `ckpt_export` and Deploy take it."""

import math
from typing import Any, cast  # TorchScript reads annotations as they are, so none is postponed

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.detector.detector import GREY, BoxDetector
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.networks.systems.graphs import AutomaticGraph, Graph, graphs_of
from amsam_monai.networks.systems.mean import Mean
from amsam_monai.networks.systems.tracing import traced


def scriptable(system: Any) -> nn.Module:
    """What `torch.jit.script` takes in place of a system: scripted framing round traced networks.

    Args:
        system: in evaluation mode, on the device where it is to run.

    Raises:
        ValueError: as `graphs_of`.
    """
    if isinstance(system, Mean):
        return ScriptableMean(nn.ModuleList(ScriptableSystem(member) for member in system.systems))
    return ScriptableSystem(system)


class ScriptableSystem(nn.Module):
    """A system but for a person's prompts.

    Args:
        system: in evaluation mode.

    Shape: image (B, 3, H, W) in [0, 1] -> logits (B, K+1, H, W).
    """

    fill: Tensor
    grey: Tensor
    sides: list[int]

    def __init__(self, system: Any) -> None:
        super().__init__()
        graphs, _ = graphs_of(system)
        self.size: int = system.image_size
        self.stretch: bool = system.resize == "stretch"
        self.register_buffer("fill", system.sam.fill.clone())
        self.register_buffer("grey", system.sam.fill.new_tensor(GREY).reshape(1, 3, 1, 1))
        pixels = system.sam.fill.new_zeros(2, 3, self.size, self.size) + self.fill
        self.encoder: nn.Module = _traced(Embedding(graphs["encoder"]), pixels) if "encoder" in graphs else Nothing()
        with torch.no_grad():
            embedding = self.encoder(pixels)
        detector = system.detector if "detector" in graphs else None
        self.sides = []
        self.looks, self.reads, self.chooses = nn.ModuleList(), cast(nn.Module, NoBoxes()), cast(nn.Module, AllBoxes())
        if isinstance(detector, EmbeddingDetector):
            self.reads = _traced(Candidates(detector), embedding)
        elif isinstance(detector, BoxDetector):
            self.sides = [detector.image_size, *detector.more_sizes]
            self.looks.extend(_traced(Candidates(detector), pixels.new_zeros(2, 3, one, one)) for one in self.sides)
        boxes = pixels.new_zeros(2, 0, 4)
        if detector is not None:
            dense = pixels.new_ones(2, 5, 4), pixels.new_ones(2, 5, system.num_classes)
            edges = pixels.new_full((4,), self.size)
            self.chooses = _traced(Chosen(system), *dense, edges)
            boxes = self.chooses(*dense, edges)
        self.answers = _traced(Answer(cast(AutomaticGraph, graphs["automatic"])), pixels, embedding, boxes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the image's size."""
        height, width = image.shape[2], image.shape[3]
        rows, columns = self.size, self.size
        if not self.stretch:
            scale = float(self.size) / float(max(height, width))
            rows, columns = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
        pixels = framed(image, rows, columns, self.size, self.fill)
        embedding = self.encoder(pixels)
        boxes, scores = self.reads(embedding)
        for index, look in enumerate(self.looks):
            side = self.sides[index]
            scale = float(side) / float(max(rows, columns))
            high, wide = max(1, int(rows * scale + 0.5)), max(1, int(columns * scale + 0.5))
            found, sure = look(framed(pixels[:, :, :rows, :columns], high, wide, side, self.grey))
            x, y = float(wide) / float(columns), float(high) / float(rows)
            found = found / torch.tensor([x, y, x, y], dtype=found.dtype, device=found.device)
            if index == 0:
                boxes, scores = found, sure
            else:
                boxes, scores = torch.cat([boxes, found], 1), torch.cat([scores, sure], 1)
        edges = torch.tensor([columns, rows, columns, rows], dtype=pixels.dtype, device=pixels.device)
        logits = self.answers(pixels, embedding, self.chooses(boxes, scores, edges))
        logits = F.interpolate(logits, [self.size, self.size], mode="bilinear", align_corners=False)
        logits = logits[:, :, :rows, :columns]
        return F.interpolate(logits, [height, width], mode="bilinear", align_corners=False)


class ScriptableMean(nn.Module):
    """The mean of systems' probabilities.

    Args:
        members: `ScriptableSystem` each.

    Shape: image (B, 3, H, W) in [0, 1] -> logits (B, K+1, H, W).
    """

    def __init__(self, members: nn.ModuleList) -> None:
        super().__init__()
        self.members = members

    def forward(self, image: Tensor) -> Tensor:
        """Logarithms of mean probabilities at the image's size."""
        shares: list[Tensor] = []
        for member in self.members:
            shares.append(torch.log_softmax(member(image), 1))
        return torch.logsumexp(torch.stack(shares), 0) - math.log(len(shares))


def framed(image: Tensor, rows: int, columns: int, size: int, fill: Tensor) -> Tensor:
    """An image scaled to rows x columns in the upper left of a square; TorchScript's `SquareFrame.image`."""
    if image.shape[2] != rows or image.shape[3] != columns:
        image = F.interpolate(image, [rows, columns], mode="bilinear", align_corners=False, antialias=True)
    if rows == size and columns == size:
        return image
    square = fill.to(image).expand(image.shape[0], -1, size, size).clone()
    square[:, :, :rows, :columns] = image
    return square


class Embedding(nn.Module):
    """An encoder's graph whose output is a tensor."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, pixels: Tensor) -> Tensor:
        """The embedding."""
        return self.graph(pixels)[0]


class Nothing(nn.Module):
    """An embedding that nobody reads."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Empty."""
        return pixels[:, 0, 0, :0]


class NoBoxes(nn.Module):
    """Boxes and scores where nothing is read out of the embedding."""

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Empty."""
        boxes = torch.zeros(embedding.shape[0], 0, 4, dtype=embedding.dtype, device=embedding.device)
        return boxes, boxes


class AllBoxes(nn.Module):
    """No choice among boxes."""

    def forward(self, boxes: Tensor, scores: Tensor, edges: Tensor) -> Tensor:
        """The boxes."""
        return boxes


class Candidates(nn.Module):
    """All boxes of a detector, see `candidates`."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores."""
        return self.detector.candidates(seen)


class Chosen(nn.Module):
    """A detector's choice among its boxes, as AM-SAM takes it."""

    def __init__(self, system: Any) -> None:
        super().__init__()
        self.system = system

    def forward(self, boxes: Tensor, scores: Tensor, edges: Tensor) -> Tensor:
        """Shape: (B, A, 4), (B, A, K), (4,) -> (B, K, M, 4)."""
        objects = any(self.system.several)
        found, _ = self.system.detector.chosen(boxes, scores, edges, objects=objects)
        return self.system.of_several(found) if objects else found[:, :, None]


class Answer(nn.Module):
    """An automatic graph whose inputs are always the same three."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, pixels: Tensor, embedding: Tensor, boxes: Tensor) -> Tensor:
        """Logits of the square."""
        given = {"pixels": pixels, "embedding": embedding, "boxes": boxes}
        return self.graph(*(given[name] for name in self.graph.inputs))[0]


def _traced(module: nn.Module, *example: Tensor) -> Any:
    """See `traced`."""
    return traced(module, example, freeze=False)
