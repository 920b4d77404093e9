"""Segment Anything's parts at any image size, safe for batches of images and prompt sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.kept import Kept
from amsam_monai.networks.sam.decoder import DecoderOutput, run_decoder
from amsam_monai.networks.sam.decoder_attention import Sharing
from amsam_monai.networks.sam.origin import Origin
from amsam_monai.networks.sam.tiny_vit import TinyViT

EMBED_DIM = 256
# SAM's pixel mean and standard deviation, for images in [0, 1].
PIXEL_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
PIXEL_STD = (58.395 / 255, 57.12 / 255, 57.375 / 255)


class SAM(nn.Module):
    """Image encoder, prompt encoder and mask decoder; pixel normalisation inside.

    Unlike segment-anything's `Sam`, every call takes one prompt set a row, each row with its own image embedding, so
    that B images with P prompt sets each are one batch of B*P rows.

    Args:
        image_encoder: (B, 3, S, S) -> (B, 256, g, g).
        prompt_encoder: segment-anything's.
        mask_decoder: segment-anything's.
        image_size: S, side of the square input in pixels.
        normalise: whether pixels are normalised by SAM's mean and standard deviation.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: Any,
        mask_decoder: Any,
        *,
        image_size: int,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.image_size = image_size
        self.origin: Origin | None = None  # what `build_sam` built it from
        self.grid: int = prompt_encoder.image_embedding_size[0]
        self._position = Kept()
        self._corner = (0, 0)  # row and column of the first cell, see `window`
        mean, std = (PIXEL_MEAN, PIXEL_STD) if normalise else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("pixel_mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)

    @property
    def fill(self) -> Tensor:
        """Colour of the padding, in [0, 1], that normalisation brings to zero. Shape (1, 3, 1, 1)."""
        return self.pixel_mean

    def encode(self, pixels: Tensor) -> Tensor:
        """Embed square images in [0, 1].

        Shape: pixels (B, 3, S, S) -> (B, 256, g, g).

        Raises:
            ValueError: the images are not S x S.
        """
        side = self.image_size
        if tuple(pixels.shape[1:]) != (3, side, side):
            raise ValueError(f"pixels must have shape (B, 3, {side}, {side}), got {tuple(pixels.shape)}.")
        return self.image_encoder((pixels - self.pixel_mean) / self.pixel_std)

    def dense_pe(self) -> Tensor:
        """Positional encoding of the embedding's cells; not to be changed. Shape (1, 256, g, g)."""
        row, column = self._corner
        encoder = self.prompt_encoder
        position = self._position.of([encoder.pe_layer.positional_encoding_gaussian_matrix], encoder.get_dense_pe)
        return position[..., row : row + self.grid, column : column + self.grid]

    def _placed(self, xy: Tensor) -> Tensor:
        """Pixels of the window as pixels of the square. Shape (..., 2)."""
        if self._corner == (0, 0):
            return xy
        row, column = self._corner
        return xy + xy.new_tensor([column, row]) * (self.image_size // self.grid)

    @contextmanager
    def window(self, side: int, corner: tuple[int, int] = (0, 0)) -> Iterator[None]:
        """Inside the `with`, see only a window of the square, at its place there: to train on parts of large images.

        `image_size` and `grid` are the window's meanwhile, and prompts are in its pixels.

        Args:
            side: of the window, in pixels; a multiple of the cells' stride.
            corner: row and column of its first cell.

        Raises:
            ValueError: a window that does not fit the square, or an encoder that takes one size alone.
        """
        stride = self.image_size // self.grid
        if side == self.image_size:
            yield
            return
        if not isinstance(self.image_encoder, TinyViT):
            raise ValueError("a window must go with a TinyViT, whose weights fit any size; train on whole images.")
        if side % stride or not 0 < side <= self.image_size or max(corner) * stride + side > self.image_size:
            raise ValueError(
                f"window must be a multiple of {stride} and lie in the square of {self.image_size} pixels, got {side} "
                f"at cell {corner}."
            )
        whole = self.image_size, self.grid
        self.image_size, self.grid, self._corner = side, side // stride, corner
        self.image_encoder.image_size = side
        try:
            yield
        finally:
            (self.image_size, self.grid), self._corner = whole, (0, 0)
            self.image_encoder.image_size = self.image_size

    def no_mask_dense(self, rows: int) -> Tensor:
        """Dense prompt of "no mask". Shape (n, 256, g, g)."""
        return self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(rows, -1, self.grid, self.grid)

    def mask_dense(self, masks: Tensor) -> Tensor:
        """Dense prompt of mask logits. Shape: (n, 1, 4g, 4g) -> (n, 256, g, g)."""
        return self.prompt_encoder.mask_downscaling(masks)

    def sparse(
        self,
        points_xy: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        *,
        rows: int | None = None,
    ) -> Tensor:
        """Tokens of prompt sets that all have the same number of points, and all a box or none.

        Args:
            points_xy: pixels of the square.
            point_labels: 1 positive, 0 negative.
            boxes: x1, y1, x2, y2 in pixels of the square.
            rows: n, needed where there is neither point nor box.

        Shape: points_xy (n, N, 2), point_labels (n, N), boxes (n, 4) -> (n, T, 256); T = N (+ 1 without a box) + 2.
        """
        if points_xy is None or point_labels is None:
            return self.pixel_mean.new_zeros(rows or 0, 0, EMBED_DIM) if boxes is None else self.box_tokens(boxes)
        points = self.point_tokens(points_xy, point_labels)
        rest = self.no_point_token(points.shape[0]) if boxes is None else self.box_tokens(boxes)
        return torch.cat([points, rest], dim=1)

    def point_tokens(self, points_xy: Tensor, point_labels: Tensor) -> Tensor:
        """Tokens of points alone; see `sparse`. Shape: (n, N, 2), (n, N) -> (n, N, 256)."""
        encoder = self.prompt_encoder  # which picks points by their labels on the host, and so makes a GPU wait
        place = encoder.pe_layer.forward_with_coords(self._placed(points_xy) + 0.5, encoder.input_image_size)
        negative, positive = (encoder.point_embeddings[label].weight for label in (0, 1))
        return place + torch.where(point_labels[..., None] > 0.5, positive, negative)

    def no_point_token(self, rows: int) -> Tensor:
        """The token that stands where points come without a box, "not a point". Shape (n, 1, 256)."""
        return self.prompt_encoder.not_a_point_embed.weight.expand(rows, 1, -1)

    def box_tokens(self, boxes: Tensor) -> Tensor:
        """Tokens of the corners of boxes. Shape: (n, 4) -> (n, 2, 256)."""
        return self.prompt_encoder(
            points=None, boxes=self._placed(boxes.unflatten(-1, (2, 2))).flatten(-2), masks=None
        )[0]

    def output_tokens(self) -> Tensor:
        """The decoder's own tokens: one for the predicted IoU, then the mask tokens. Shape (1 + M, 256)."""
        return torch.cat([self.mask_decoder.iou_token.weight, self.mask_decoder.mask_tokens.weight])

    def decode(
        self,
        embedding: Tensor,
        sparse: Tensor,
        dense: Tensor | None = None,
        *,
        tokens: Tensor | None = None,
        images: Tensor | None = None,
        there: Tensor | None = None,
    ) -> DecoderOutput:
        """Run the decoder, one prompt set a row.

        Args:
            embedding: of the images.
            sparse: prompt tokens of each row.
            dense: dense prompt of each row, added to its embedding; None is "no mask" for all. One that is the same at
                all cells may be given as one cell, and takes less time then.
            tokens: output tokens of each row, where they are not SAM's own.
            images: image of each row; None where row n has image n.
            there: which prompt tokens of each row are to be attended to; None is all.

        Shape: embedding (B, 256, g, g), sparse (n, T, 256), dense (n, 256, g, g) or (n, 256, 1, 1),
            tokens (n, 1 + M, 256), images (n,), there (n, T).
        """
        if tokens is None:
            tokens = self.output_tokens().expand(sparse.shape[0], -1, -1)
        sharing = Sharing(images)
        if dense is None:
            image = embedding + self.no_mask_dense(1)
        elif dense.shape[-2:] == (1, 1):
            image, sharing = embedding.to(dense.dtype), Sharing(images, dense.flatten(2).mT)
        else:
            image, sharing = (embedding if images is None else embedding[images]) + dense, Sharing()
        if there is not None:
            there = F.pad(there, (tokens.shape[1], 0), value=True)
        tokens = torch.cat([tokens, sparse], dim=1)
        return run_decoder(self.mask_decoder, image, self.dense_pe(), tokens, sharing, there)

    def decode_windows(
        self,
        embedding: Tensor,
        sparse: Tensor,
        corners: Tensor,
        side: int,
        *,
        dense: Tensor,
        tokens: Tensor,
        images: Tensor,
        there: Tensor | None = None,
    ) -> DecoderOutput:
        """Run the decoder on a window of cells of each row's own, which costs as much less as there are fewer cells.

        Args:
            embedding: of the images.
            sparse: prompt tokens of each row, in pixels of the whole square.
            corners: row and column of each window's first cell.
            side: cells a side of a window.
            dense: dense prompt of each row, of the whole square or of one cell.
            tokens: output tokens of each row.
            images: image of each row.
            there: see `decode`.

        Shape: embedding (B, 256, g, g), sparse (n, T, 256), corners (n, 2), dense (n, 256, g, g) or (n, 256, 1, 1),
            tokens (n, 1 + M, 256), images (n,), there (n, T).
        """
        steps = torch.arange(side, device=corners.device)
        rows, columns = (corners[:, axis, None] + steps for axis in (0, 1))
        rows, columns = rows[:, :, None], columns[:, None]  # (n, side, 1), (n, 1, side)
        image = embedding[images[:, None, None], :, rows, columns]  # (n, side, side, 256)
        place = self.dense_pe()[0][:, rows, columns].movedim(0, 1)  # (n, 256, side, side)
        if dense.shape[-1] > 1:
            own = torch.arange(len(corners), device=corners.device)[:, None, None]
            dense = dense[own, :, rows, columns].movedim(-1, 1)
        if there is not None:
            there = F.pad(there, (tokens.shape[1], 0), value=True)
        image = image.movedim(-1, 1) + dense
        return run_decoder(self.mask_decoder, image, place, torch.cat([tokens, sparse], dim=1), Sharing(), there)

    def hyper(self, mask_tokens: Tensor) -> Tensor:
        """Channel weights of each mask token. Shape (n, m, 256) -> (n, m, 32), for the first m tokens."""
        heads = self.mask_decoder.output_hypernetworks_mlps
        return torch.stack([heads[index](mask_tokens[:, index]) for index in range(mask_tokens.shape[1])], dim=1)

    def masks(self, output: DecoderOutput) -> Tensor:
        """SAM's masks: token weights times features, summed over channels. Shape (n, M, 4g, 4g), logits."""
        return output.picture(torch.einsum("nmc,nchw->nmhw", self.hyper(output.mask_tokens), output.features))

    def iou(self, output: DecoderOutput) -> Tensor:
        """Predicted IoU of each mask. Shape (n, M); nearly in [0, 1]."""
        return self.mask_decoder.iou_prediction_head(output.iou_token)
