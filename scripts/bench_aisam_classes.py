"""Time AI-SAM's prompts and masks, all classes at once against class by class. Weights are random: time does not care.

python scripts/bench_aisam_classes.py --classes 4 --image-size 512
"""

import argparse
import statistics
import time

import torch

from amsam_monai.networks.aisam import AISAM
from amsam_monai.networks.sam import build_sam


def batched(net, image, embedding):
    return net(image, embedding=embedding, low_res=True)


def looped(net, image, embedding):
    """The same work one class at a time: its pass through the prompter, then its mask."""
    prompter, position = net.prompter, net.sam.dense_pe()
    places = position.flatten(2).transpose(1, 2)
    points = []
    for c in range(prompter.num_classes):
        tokens = torch.cat([prompter.point_queries, prompter.class_tokens[c]])[None]
        tokens, cells = prompter.transformer(tokens, embedding)
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
    difference = (batched(net, image, embedding) - looped(net, image, embedding)).abs().max().item()
    ways = (lambda: batched(net, image, embedding), lambda: looped(net, image, embedding))
    together, alone = seconds(ways, options.repeats, device)
    size = f"{options.image_size} px, {options.classes} classes, batch {options.batch}, {device}"
    print(f"{size}: largest difference of logits {difference:.2e}")
    for name, times in (("batched", together), ("loop", alone)):
        print(f"{name:8s} {statistics.median(times):.3f} s median, {min(times):.3f} s best of {len(times)}")
    median, best = statistics.median(alone) / statistics.median(together), min(alone) / min(together)
    print(f"ratio    {median:.2f} median, {best:.2f} best")


if __name__ == "__main__":
    main()
