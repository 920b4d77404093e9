"""A training step of the mask decoder under a frozen encoder, beside one of segment-anything's own parts.

    python scripts/benchmarks/train_step.py [--image-size 512] [--batch 4] [--out train_step.json]

Random weights, embeddings at hand, a box for each class. Both sides train the whole mask decoder with the same loss and
optimiser: `AM-SAM` takes all images and classes at once, `segment-anything` image by image, as its decoder does. With
`--encoder` the frozen encoder runs in the step too, in AM-SAM's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from sides import in_turn, tell

from amsam_monai.losses import CEDiceLoss
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment.autocast import PRECISIONS, autocast


def steps(
    image_size: int,
    batch: int,
    classes: int,
    *,
    backbone: str = "vit_t",
    device: str = "cpu",
    precision: str = "float32",
    encoder: bool = False,
) -> dict[str, Callable[[], object]]:
    """A step of each side."""
    image = torch.rand(batch, 3, image_size, image_size, device=device)
    label = torch.randint(0, classes + 1, (batch, 1, image_size, image_size), device=device)
    corners = torch.tensor([0.25, 0.25, 0.75, 0.75], device=device) * image_size
    boxes = corners.expand(batch, classes, 4)
    embedding = torch.randn(batch, 256, image_size // 16, image_size // 16, device=device)
    loss = CEDiceLoss()

    sam = build_sam(backbone, image_size=image_size)
    ours = AMSAM(sam, num_classes=classes, decoder="all", lora_rank=0).to(device).train()
    adam = torch.optim.AdamW([one for one in ours.parameters() if one.requires_grad])

    grid = image_size // 16
    prompts = PromptEncoder(256, (grid, grid), (image_size, image_size), 16).to(device)
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    decoder = MaskDecoder(transformer_dim=256, transformer=transformer).to(device)
    their_adam = torch.optim.AdamW(decoder.parameters())

    def step(given: torch.Tensor | None) -> None:
        adam.zero_grad()
        with autocast(precision, torch.device(device)):
            logits = ours(image, embedding=given, prompts=Prompts(box_xyxy=boxes))
        loss(logits.float(), label).backward()
        adam.step()

    def their_step() -> None:
        their_adam.zero_grad()
        parts = []
        with autocast(precision, torch.device(device)):
            for one, of_image in zip(embedding, boxes, strict=True):
                with torch.no_grad():
                    sparse, dense = prompts(points=None, boxes=of_image, masks=None)
                masks, _ = decoder(one[None], prompts.get_dense_pe(), sparse, dense, multimask_output=False)
                parts.append(torch.nn.functional.interpolate(masks, (image_size, image_size), mode="bilinear")[:, 0])
        logits = torch.stack(parts).float()
        loss(torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1), label).backward()
        their_adam.step()

    sides: dict[str, Callable[[], object]] = {"AM-SAM": lambda: step(embedding), "segment-anything": their_step}
    return {**sides, "AM-SAM with its encoder": lambda: step(None)} if encoder else sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_t")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--encoder", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON of all times")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sides = steps(
        options.image_size,
        options.batch,
        options.classes,
        backbone=options.backbone,
        device=options.device,
        precision=options.precision,
        encoder=options.encoder,
    )
    row = f"{options.batch} images of {options.image_size} px, {options.classes} classes"
    tell({row: in_turn(sides, options.rounds, device=options.device)}, options.out, threads=options.threads)


if __name__ == "__main__":
    main()
