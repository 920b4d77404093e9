"""Time AI-SAM's prompts and masks, all classes at once against class by class. Weights are random: time does not care.

python scripts/benchmarks/aisam_classes.py --classes 4 --image-size 512

Two loops do the same work: one of this package's layers, and one of segment-anything's, as the published code has it.
"""

import argparse
import statistics
import time

import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.transformer import Attention
from torch import nn

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
    sparse = prompter._sparse(torch.cat(points, dim=1), net._point_labels())
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


def seconds(functions, repeats, device):
    """Times of each function, taken in turns so that a busy machine slows all of them alike."""

    def once(function):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    torch.empty(7_900_000)  # an encoder's activations, as any real process has had: malloc then keeps memory
    for _ in range(2):
        [once(function) for function in functions]
    turns = [[once(function) for function in functions] for _ in range(repeats)]
    return [list(times) for times in zip(*turns, strict=True)]


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=4, help="background counted")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    sam = build_sam("vit_nano", image_size=options.image_size)  # prompt encoder and decoder are those of any SAM
    net = AISAM(sam, num_classes=options.classes - 1, gate=False).to(device).eval()
    image = torch.rand(options.batch, 3, options.image_size, options.image_size, device=device)
    embedding = torch.randn(options.batch, 256, sam.grid, sam.grid, device=device)
    stack = PublishedStack(net.prompter.transformer).to(device).eval()
    ways = {
        "all classes at once": lambda: batched(net, image, embedding),
        "loop": lambda: looped(net, image, embedding),
        "loop of stock layers": lambda: looped(net, image, embedding, stack),
    }
    answers = [way() for way in ways.values()]
    difference = max((answers[0] - other).abs().max().item() for other in answers[1:])
    size = f"{options.image_size} px, {options.classes} classes, batch {options.batch}, {device}"
    print(f"{size}: largest difference of logits {difference:.2e}")
    times = dict(zip(ways, seconds(list(ways.values()), options.repeats, device), strict=True))
    first = times["all classes at once"]
    for name, found in times.items():
        median, best = statistics.median(found), min(found)
        ratios = f"{median / statistics.median(first):.2f} and {best / min(first):.2f} times the first"
        print(f"{name:21s} {median:.3f} s median, {best:.3f} s best; {ratios}")


if __name__ == "__main__":
    main()
