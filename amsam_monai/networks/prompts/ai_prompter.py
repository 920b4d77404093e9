"""AI-SAM's prompter: generalised points of every class from an image embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.prompts.confine import confine
from amsam_monai.networks.sam.token_image_transformer import WIDTH, TokenImageTransformer


@dataclass
class PrompterOutput:
    """Points of each class, as weights over cells, as embeddings and as coordinates.

    Classes with fewer than N points have weights and embeddings 0 and coordinates NaN in the places that are left.

    Args:
        weights: W, soft even where the points are one-hot; sums to 1 over the cells.
        points: P^g = W^T P, positions mixed by the weights.
        features: W^T (P + X), what the diversity loss compares.
        sparse: prompt tokens for SAM's decoder: each class's own points first, then the other classes' ascending.
        points_xy: cell of the largest weight, as the pixel at the cell's centre.

    Shape: weights (B, C, N, h, w), points and features (B, C, N, 256), sparse (B, C, T, 256) with T all classes'
        points (C * N), points_xy (B, C, N, 2).
    """

    weights: Tensor
    points: Tensor
    features: Tensor
    sparse: Tensor
    points_xy: Tensor


class PointMLP(nn.Module):
    """Three linear layers with GELU between. Shape (..., 256) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last layer."""
        for layer in self.layers[:-1]:
            x = F.gelu(layer(x))
        return self.layers[-1](x)


class AIPrompter(nn.Module):
    """Generalised points of every class (AI-SAM, arXiv:2312.03119, section 4).

    Each point is a softmax W over the cells of the embedding, and its prompt is the mixture W^T P of SAM's positional
    encodings: a point that a gradient can move. Background is a class like any other, and each class's points are
    negative points for all others. Layers are the published ones; the scale of the points' norm starts at 1/16.

    Args:
        num_classes: C, background counted.
        num_points: N points of each class, or one count per class.
        num_class_tokens: learned tokens that tell the classes apart.
        depth: blocks of the transformer.
        stride: pixels per cell, for the coordinates: 16, or 4 for LiteMedSAM.

    Shape: embedding (B, 256, h, w) -> see `PrompterOutput`.

    Raises:
        ValueError: counts below 1, or not one count for each class.
    """

    counts: Tensor
    order: Tensor
    owner: Tensor

    def __init__(
        self,
        num_classes: int,
        num_points: int | Sequence[int] = 4,
        num_class_tokens: int = 16,
        *,
        depth: int = 4,
        stride: int = 16,
    ) -> None:
        super().__init__()
        counts = [num_points] * num_classes if isinstance(num_points, int) else list(num_points)
        if num_classes < 1 or len(counts) != num_classes or min(counts) < 1 or num_class_tokens < 1:
            raise ValueError(
                "num_classes, num_points and num_class_tokens must be at least 1, with one num_points or one per "
                f"class, got {num_classes}, {num_points} and {num_class_tokens}."
            )
        self.num_classes, self.num_points, self.stride = num_classes, max(counts), stride
        self.class_tokens = nn.Parameter(torch.randn(num_classes, num_class_tokens, WIDTH) * WIDTH**-0.5)
        self.point_queries = nn.Parameter(torch.randn(self.num_points, WIDTH) * WIDTH**-0.5)  # shared by all classes
        self.transformer = TokenImageTransformer(depth)
        self.point_mlps = nn.ModuleList(PointMLP() for _ in range(self.num_points))
        self.point_norm = nn.LayerNorm(WIDTH)
        # At scale 1 the softmax is one-hot from the start: all points fall on one cell, and no gradient moves them.
        nn.init.constant_(self.point_norm.weight, WIDTH**-0.5)
        self.register_buffer("counts", torch.tensor(counts), persistent=False)  # (C,)
        order = _token_order(counts)
        self.register_buffer("order", order, persistent=False)  # (C, T) into the flattened (class, point)
        self.register_buffer("owner", order // self.num_points, persistent=False)  # (C, T) class of each token

    def forward(
        self,
        embedding: Tensor,
        position: Tensor,
        point_labels: Tensor,
        box_masks: Tensor | None = None,
        one_hot: bool = False,
        classes: Tensor | None = None,
    ) -> PrompterOutput:
        """Points of every class.

        Args:
            embedding: X, SAM's image embedding.
            position: P, SAM's positional encoding of the cells.
            point_labels: SAM's label embeddings: not a point, negative, positive. The first is not used.
            box_masks: where each class's points may lie, at any resolution; see `confine`.
            one_hot: each point is its single most likely cell. The gradient passes straight through to the weights.
            classes: make points of these alone, at their share of the cost; the others have none.

        Shape: embedding (B, 256, h, w), position (1, 256, h, w), point_labels (3, 256), box_masks (B, C, H, W),
            classes (c,), indices.

        Raises:
            ValueError: an input of another shape.
        """
        self._check(embedding, position, point_labels, box_masks)
        made = slice(None) if classes is None else classes
        has_point = self.has_point[made]
        logits = self._cell_logits(embedding, made)  # (B, c, N, h*w)
        if box_masks is not None:
            inside = confine(box_masks[:, made], embedding.shape[-2:]).flatten(2)
            logits = logits.masked_fill(~inside[:, :, None], -torch.inf)
        weights = logits.softmax(-1)
        if self._ragged:
            weights = weights * has_point[..., None]
        chosen = _one_hot(weights) * has_point[..., None] if one_hot else weights
        places = position.flatten(2).transpose(1, 2).to(chosen.dtype)  # (1, h*w, 256)
        points = chosen @ places[:, None]  # (B, c, N, 256)
        features = points + chosen @ embedding.flatten(2).transpose(1, 2)[:, None].to(chosen.dtype)
        xy = self._pixels(weights, embedding.shape[-1]).masked_fill(~has_point[..., None], torch.nan)
        points = self._among_all(points, classes)
        return PrompterOutput(
            weights=self._among_all(weights.unflatten(-1, embedding.shape[-2:]), classes),
            points=points,
            features=self._among_all(features, classes),
            sparse=self._sparse(points, point_labels),
            points_xy=self._among_all(xy, classes, torch.nan),
        )

    def _among_all(self, made: Tensor, classes: Tensor | None, empty: float = 0.0) -> Tensor:
        """What was made of some classes among `empty` of the others. Shape (B, c, ...) -> (B, C, ...)."""
        if classes is None:
            return made
        return made.new_full((made.shape[0], self.num_classes, *made.shape[2:]), empty).index_copy(1, classes, made)

    def no_points(self, embedding: Tensor) -> PrompterOutput:
        """What `forward` gives when no points are wanted, at no cost: coordinates NaN, all else 0.

        Shape: embedding (B, 256, h, w).
        """
        places = (embedding.shape[0], self.num_classes, self.num_points)
        return PrompterOutput(
            weights=embedding.new_zeros(*places, *embedding.shape[-2:]),
            points=embedding.new_zeros(*places, WIDTH),
            features=embedding.new_zeros(*places, WIDTH),
            sparse=embedding.new_zeros(embedding.shape[0], *self.order.shape, WIDTH),
            points_xy=embedding.new_full((*places, 2), torch.nan),
        )

    def moved(self, output: PrompterOutput, points_xy: Tensor, points: Tensor, point_labels: Tensor) -> PrompterOutput:
        """`output` with its points elsewhere; weights and features stay those of the cells.

        Args:
            output: as `forward` gave it.
            points_xy: pixels of the square.
            points: SAM's positional encoding of these.
            point_labels: see `forward`.

        Shape: points_xy (B, C, N, 2), points (B, C, N, 256), point_labels (3, 256).
        """
        return replace(output, points_xy=points_xy, points=points, sparse=self._sparse(points, point_labels))

    @property
    def has_point(self) -> Tensor:
        """Which of the N places of each class hold a point. Shape (C, N)."""
        return torch.arange(self.num_points, device=self.counts.device) < self.counts[:, None]

    @property
    def _ragged(self) -> bool:
        return self.order.shape[1] < self.num_classes * self.num_points

    def _cell_logits(self, embedding: Tensor, made: Tensor | slice) -> Tensor:
        """How much each point of these classes likes each cell, (B, c, N, h*w): an unscaled product, as published."""
        own = self.class_tokens[made]
        queries = self.point_queries.expand(len(own), -1, -1)
        mask = None
        if self._ragged:  # a query without a point is looked at by nobody
            mask = torch.cat([self.has_point[made], self.has_point.new_ones(own.shape[:2])], dim=1)
        tokens, image = self.transformer(torch.cat([queries, own], dim=1), embedding, mask)
        tokens = tokens[:, :, : self.num_points]
        moved = torch.stack([mlp(tokens[:, :, n]) for n, mlp in enumerate(self.point_mlps)], dim=2)
        return self.point_norm(tokens + moved) @ image.flatten(2, 3).transpose(2, 3)

    def _sparse(self, points: Tensor, point_labels: Tensor) -> Tensor:
        """Each class's points as positive, then all others' as negative, (B, C, T, 256)."""
        own = self.owner == torch.arange(self.num_classes, device=self.owner.device)[:, None]  # (C, T)
        labels = torch.where(own[..., None], point_labels[2], point_labels[1])  # (C, T, 256)
        return points.flatten(1, 2)[:, self.order] + labels

    def _pixels(self, weights: Tensor, columns: int) -> Tensor:
        cell = weights.argmax(-1)  # (B, c, N)
        cell_xy = torch.stack([cell % columns, cell // columns], dim=-1).to(weights.dtype)
        return (cell_xy + 0.5) * self.stride - 0.5

    def _check(self, embedding: Tensor, position: Tensor, point_labels: Tensor, box_masks: Tensor | None) -> None:
        if embedding.ndim != 4 or embedding.shape[1] != WIDTH:
            raise ValueError(f"embedding must have shape (B, {WIDTH}, h, w), got {tuple(embedding.shape)}.")
        if tuple(position.shape) != (1, *embedding.shape[1:]):
            raise ValueError(f"position must have shape {(1, *embedding.shape[1:])}, got {tuple(position.shape)}.")
        if tuple(point_labels.shape) != (3, WIDTH):
            raise ValueError(
                f"point_labels must have shape (3, {WIDTH}): not a point, negative, positive; "
                f"got {tuple(point_labels.shape)}."
            )
        wanted = (embedding.shape[0], self.num_classes)
        if box_masks is not None and (box_masks.ndim != 4 or tuple(box_masks.shape[:2]) != wanted):
            raise ValueError(f"box_masks must have shape {wanted} + (H, W), got {tuple(box_masks.shape)}.")


def _one_hot(weights: Tensor) -> Tensor:
    """1 at the largest weight, 0 elsewhere; the gradient is that of the weights."""
    hard = F.one_hot(weights.argmax(-1), weights.shape[-1]).to(weights.dtype)
    return hard + (weights - weights.detach()) if weights.requires_grad else hard


def _token_order(counts: list[int]) -> Tensor:
    """Tokens of each class, own first, as indices into the flattened (class, point). Shape (C, T)."""
    width = max(counts)
    places = [(owner, owner * width + n) for owner, count in enumerate(counts) for n in range(count)]
    own_first = [sorted(places, key=lambda place: (place[0] != c, place)) for c in range(len(counts))]
    return torch.tensor(own_first)[..., 1]
