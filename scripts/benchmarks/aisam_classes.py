"""Time AI-SAM's prompts and masks, all classes at once against class by class. Weights are random: time does not care.

    python scripts/benchmarks/aisam_classes.py [--classes 8] [--image-size 512] [--out aisam_slice.json]

Two loops do the same work: one of this package's layers, and one of segment-anything's, as the published code has it.
"""

import argparse
from pathlib import Path

import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.transformer import Attention
from sides import in_turn, tell
from torch import nn

from amsam_monai.networks.prompts.class_tokens import label_embeddings
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM


def batched(net, image, embedding):
    return net(image, embedding=embedding, low_res=True)


def looped(net, image, embedding, stack=None):
    """The same work one class at a time: its pass through the prompter, or through `stack` instead, then its mask."""
    prompter, position = net.prompter, net.sam.dense_pe()
    places = position.flatten(2).transpose(1, 2)
    points = []
    for c in range(prompter.num_classes):
        tokens = torch.cat([prompter.point_queries, prompter.class_tokens[c]])[None]
        tokens, cells = (stack or prompter.transformer)(tokens, embedding)
        moved = torch.stack([mlp(tokens[:, :, n]) for n, mlp in enumerate(prompter.point_mlps)], dim=2)
        logits = prompter.point_norm(tokens[:, :, : prompter.num_points] + moved) @ cells.flatten(2, 3).mT
        cell = logits.softmax(-1).argmax(-1)
        points.append(torch.nn.functional.one_hot(cell, places.shape[1]).to(places) @ places[:, None])
    net.classifier(embedding)
    sparse = prompter._sparse(torch.cat(points, dim=1), label_embeddings(net.sam))
    masks = []
    for c in range(prompter.num_classes):
        queries, upscaled = stock_decoder(net.sam, embedding, sparse[:, c])
        masks.append(net.calibration(net.sam.hyper(queries[:, 1:2]), upscaled))
        net.sam.mask_decoder.iou_prediction_head(queries[:, 0])
    return torch.cat(masks, dim=1)


class PublishedStack(nn.Module):
    """The prompter's transformer in segment-anything's own layers, channels first, with the weights of `ours`."""

    def __init__(self, ours):
        super().__init__()
        self.layers = list(ours.layers)
        self.own = nn.ModuleList(stock_attention(layer.self_attention, 1) for layer in ours.layers)
        self.to_image = nn.ModuleList(stock_attention(layer.token_to_image, 2) for layer in ours.layers)
        self.to_tokens = nn.ModuleList(stock_attention(layer.image_to_token, 2) for layer in ours.layers)
        self.convolutions = nn.ModuleList(stock_convolution(layer.conv_mlp) for layer in ours.layers)
        self.final, self.norm = stock_attention(ours.final_attention, 2), ours.norm_final

    def forward(self, tokens, embedding):
        side = embedding.shape[-2:]
        start, first = tokens, embedding.flatten(2).mT
        queries, cells = start, first
        for n, layer in enumerate(self.layers):
            placed = queries if n == 0 else queries + start
            looked = self.own[n](placed, placed, queries)
            queries = layer.norm1(looked if n == 0 else queries + looked)
            queries = layer.norm2(queries + self.to_image[n](queries + start, cells + first, cells))
            queries = layer.norm3(queries + layer.mlp(queries))
            picture = cells.mT.unflatten(2, side)
            cells = layer.norm4((picture + self.convolutions[n](picture)).flatten(2).mT)
            cells = layer.norm5(cells + self.to_tokens[n](cells + first, queries + start, queries))
        queries = self.norm(queries + self.final(queries + start, cells + first, cells))
        return queries[:, None], cells.unflatten(1, side)[:, None]


def stock_attention(ours, downsample_rate):
    stock = Attention(256, 8, downsample_rate=downsample_rate)
    stock.load_state_dict(ours.state_dict())
    return stock


def stock_convolution(ours):
    mix = nn.Conv2d(256, 256, 1)
    mix.load_state_dict({"weight": ours.mix.weight[..., None, None], "bias": ours.mix.bias})
    wide = nn.Conv2d(256, 256, 3, padding=1)
    wide.load_state_dict(ours.conv.state_dict())
    norm = LayerNorm2d(256)
    norm.load_state_dict(ours.norm.state_dict())
    return nn.Sequential(wide, norm, nn.GELU(), mix)


def stock_decoder(sam, embedding, sparse):
    """Segment-anything's own transformer and upscaling: tokens and features."""
    tokens = torch.cat([sam.output_tokens().expand(len(sparse), -1, -1), sparse], dim=1)
    image = embedding + sam.no_mask_dense(len(embedding))
    queries, cells = sam.mask_decoder.transformer(image, sam.dense_pe(), tokens)
    return queries, sam.mask_decoder.output_upscaling(cells.transpose(1, 2).reshape(embedding.shape))


def ways(classes: int, image_size: int, batch: int, device: str):
    """The two loops and all at once, as calls, from one embedding."""
    sam = build_sam("vit_nano", image_size=image_size)  # prompt encoder and decoder are those of any SAM
    net = AISAM(sam, num_classes=classes - 1, gate=False).to(device).eval()
    image = torch.rand(batch, 3, image_size, image_size, device=device)
    embedding = torch.randn(batch, 256, sam.grid, sam.grid, device=device)
    stack = PublishedStack(net.prompter.transformer).to(device).eval()
    return {
        "all classes at once": lambda: batched(net, image, embedding),
        "loop": lambda: looped(net, image, embedding),
        "loop of stock layers": lambda: looped(net, image, embedding, stack),
    }


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=8, help="background counted")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="JSON of all times")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sides = ways(options.classes, options.image_size, options.batch, options.device)
    answers = [way() for way in sides.values()]
    difference = max((answers[0] - other).abs().max().item() for other in answers[1:])
    size = f"{options.image_size} px, {options.classes} classes, batch {options.batch}, {options.device}"
    print(f"{size}: largest difference of logits {difference:.2e}")
    torch.empty(7_900_000)  # an encoder's activations, as any real process has had: malloc then keeps memory
    times = in_turn(sides, options.repeats, device=options.device, first=2)
    tell({size: times}, options.out, threads=options.threads, difference=difference)


if __name__ == "__main__":
    main()
