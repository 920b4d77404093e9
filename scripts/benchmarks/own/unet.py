"""A MONAI U-Net trained for some minutes on a task, and its label maps of the test cases.

    python -m benchmarks.own.unet train SPEC.json
    python -m benchmarks.own.unet predict SPEC.json

Dice and cross-entropy, AdamW with warm-up and polynomial decay, a running mean of the weights, mirror images at test
time where the task allows them. The number of steps is fixed after a few timed ones.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.data import ThreadDataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import label_suffix, read_image, write_label
from amsam_monai.segment.flips import mean_logits
from benchmarks.own.clock import Clock
from benchmarks.own.unet_data import Samples, load, see, with_neighbours
from benchmarks.own.unet_network import build_unet
from benchmarks.own.unet_plan import Plan, plan_of

WARM, TIMED = 2, 4  # steps before the clock is asked, and while it is
RATE = {"scratch": 2e-3, "imagenet": 1e-3}
RAMP = 0.05  # share of the steps over which the rate rises
MEMORY = 0.98  # of the running mean of the weights
MOST_STEPS = 20000
SLICES = 8  # of a volume at once, when predicting


def main(action: str, file: str) -> None:
    """Train or predict as a file says, see `train`."""
    spec = json.loads(Path(file).read_text(encoding="utf-8"))
    torch.set_num_threads(spec["threads"])
    spec["labels"] = {int(value): name for value, name in spec["labels"].items()}
    (train if action == "train" else predict)(spec)


def train(spec: dict[str, Any]) -> None:
    """Train and write `model` and `facts`.

    Args:
        spec: train (items), labels, network, minutes, clock, threads, seed, model, facts (paths).
    """
    clock = Clock(spec["minutes"], spec["clock"], spec["threads"])
    torch.manual_seed(spec["seed"])
    stored = [load(item, spec["labels"]) for item in spec["train"]]
    plan = plan_of(stored, list(spec["labels"].values()), slices=spec["network"] == "imagenet")
    cases = [see(case["image"], case["label"], plan) for case in stored]
    colours = stored[0]["image"].shape[0] == 3
    del stored
    net = build_unet(spec["network"], plan, len(spec["labels"]))
    samples = Samples(cases, plan, count=MOST_STEPS * plan.batch, seed=spec["seed"], colours=colours)
    mean, facts = fit(net, samples, plan, clock, RATE[spec["network"]])
    with whole_file(spec["model"]) as part:
        torch.save({"state": mean.state_dict(), "plan": plan.as_dict(), "network": spec["network"]}, part)
    with whole_file(spec["facts"]) as part:
        part.write_text(json.dumps({**facts, "plan": plan.as_dict(), "seconds": clock.seconds()}), encoding="utf-8")


def fit(net: nn.Module, samples: Samples, plan: Plan, clock: Clock, rate: float) -> tuple[nn.Module, dict[str, Any]]:
    """Steps until the minutes are over; the running mean of the weights, and the numbers of the training."""
    mean = AveragedModel(net, avg_fn=running_mean, use_buffers=True)
    fast = torch.channels_last_3d if plan.dims == 3 else torch.contiguous_format  # on CPUs
    net.to(memory_format=fast)
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-2)
    batches, steps, last = batches_of(samples, plan.batch), MOST_STEPS, 0.0
    step, begun, seconds = 0, 0.0, 0.0
    net.train()
    while step < steps:
        if step == WARM:
            begun = clock.seconds()
        if step == WARM + TIMED:
            seconds = (clock.seconds() - begun) / TIMED
            steps = min(MOST_STEPS, step + clock.steps_left(seconds))
            print(f"{seconds:.3f} s a step, {steps} steps", flush=True)
            if step >= steps:
                break
        for group in optimizer.param_groups:
            group["lr"] = rate * share_of_rate(step, steps)
        batch = next(batches)
        found = loss(net(batch["image"].contiguous(memory_format=fast)), batch["label"])
        optimizer.zero_grad(set_to_none=True)
        found.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 12.0)
        optimizer.step()
        mean.update_parameters(net)
        step, last = step + 1, float(found.detach())
        if step % 50 == 0:
            print(f"step {step} of {steps}: loss {last:.3f}, {clock.seconds():.0f} s", flush=True)
    return mean.module, {"steps": step, "seconds_a_step": seconds, "last_loss": last}


def share_of_rate(step: int, steps: int) -> float:
    """Warm-up, then polynomial decay; before the number of steps is known the rate rises as slowly as it can."""
    ramp = max(WARM + TIMED, RAMP * min(steps, 1000))
    return min((step + 1) / ramp, (1 - step / max(steps, 1)) ** 0.9)


def running_mean(mean: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """The running mean's next value; it forgets the first steps fast."""
    return new + min(MEMORY, (1 + int(count)) / (10 + int(count))) * (mean - new)


def batches_of(samples: Samples, size: int) -> Iterator[dict[str, Tensor]]:
    """Batches made in a thread beside the training."""
    yield from ThreadDataLoader(samples, batch_size=size, num_workers=0, buffer_size=2)


@torch.inference_mode()
def predict(spec: dict[str, Any]) -> None:
    """Write label maps of the test cases, classes 1, 2, ... in the table's order.

    Args:
        spec: test (items), labels, model and predictions (paths).
    """
    told = torch.load(spec["model"], map_location="cpu", weights_only=True)
    plan = Plan.of_dict(told["plan"])
    net = build_unet(told["network"], plan, len(spec["labels"]), pretrained=False)
    net.load_state_dict(told["state"])
    net.eval()
    for item in spec["test"]:
        begun, source = time.perf_counter(), read_image(item["image"])
        image = load(item, spec["labels"])["image"]
        found = segment(net, image, plan)
        path = Path(spec["predictions"]) / f"{item['case_id']}{label_suffix(source)}"
        write_label(path, found.numpy().astype("uint8"), source)
        print(f"{item['case_id']}: {time.perf_counter() - begun:.1f} s", flush=True)


def segment(net: nn.Module, image: Tensor, plan: Plan) -> Tensor:
    """Class indices at the image's own size. Shape (C, H, W) or (1, I, J, K) -> (H, W) or (I, J, K)."""
    seen = see(image, None, plan)
    if plan.dims == 3:
        return logits_of(net, seen.image, plan).argmax(1)[0]
    if seen.view is None:
        return at_size(logits_of(net, seen.image, plan), image.shape[1:])[0]
    found = torch.zeros(image.shape[1:], dtype=torch.uint8)
    for start in range(0, len(seen.image), SLICES):
        stop = min(start + SLICES, len(seen.image))
        slices = torch.stack([with_neighbours(seen.image, place) for place in range(start, stop)])
        seen.view.put(found, at_size(logits_of(net, slices, plan), seen.view.slice_shape), start)
    return found


def at_size(logits: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """The likeliest class at a size. Shape (B, K+1, h, w) -> (B, H, W)."""
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False).argmax(1).to(torch.uint8)


def logits_of(net: nn.Module, pixels: Tensor, plan: Plan) -> Tensor:
    """Mean over mirror images, window by window where the image is larger than a patch."""
    answers = []
    for number in range(2 ** len(plan.mirrors)):
        axes = [axis + 2 for place, axis in enumerate(plan.mirrors) if number >> place & 1]
        turned = pixels.flip(axes) if axes else pixels
        found = sliding_window_inference(turned, plan.patch, 4, net, overlap=0.5, mode="gaussian")
        answers.append(found.flip(axes) if axes else found)
    return mean_logits(answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
