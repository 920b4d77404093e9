"""AutoSAM's Tables 1 and 2 on the data at hand: every row, backbone and seed, resumable.

    AMSAM_DATA=DIR python scripts/benchmarks/autosam.py --dataset glas --backbones sam hardnet85 --out runs/glas

Trains on the training ids of data/splits, scores the last epoch (no selection) on the validation ids: Dice and IoU at
native size (strict), and the published evaluation's (`autosam`) beside. Each run is one JSON file in --out/runs; what
is there is not run again, and trained networks are kept in --out/networks. Further modes:

    --shots 8           few-shot: three draws instead of seeds, scored on the images that no draw touches
    --universal         one g with a token per data set, trained on all of --dataset (give several)
    --start runs/earlier            train the networks of an earlier run on, say on more views
    --flips horizontal vertical     average AutoSAM and h(g(I)) over mirror images; kept beside the runs without
    --rows time         seconds and GMACs of encoder, g, decoder and h
    --rows pictures     image, h(g(I)), AutoSAM and truth side by side, as in the paper's Fig. 4
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.transforms import Compose
from row_table import UNCACHED, read_table

from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.run import TrainingResult, bundle_workflow, run_training
from amsam_monai.data.datasets import LoadCased, image_folder_datalist, isic_datalist
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.sections import sections as cut
from amsam_monai.data.splits import split_sections
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.evaluation.picture_sheet import picture_sheet
from amsam_monai.evaluation.prompting.part_costs import time_parts
from amsam_monai.evaluation.prompting.true_prompts import mask_prompt, plain_sam, point_prompt
from amsam_monai.evaluation.scoring.case_scores import score_case
from amsam_monai.evaluation.scoring.protocols import get_protocol
from amsam_monai.handlers import load_adapter
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.prompt_generator import BACKBONES
from amsam_monai.networks.systems.autosam import AutoSAM
from amsam_monai.segment.autocast import PRECISIONS
from amsam_monai.segment.flips import FLIPS, flip_sets, mean_logits
from amsam_monai.transforms.intensity import Intensityd
from amsam_monai.transforms.sam_input import ToThreeChannelsd

TABLE = read_table("autosam")
TRAINED = ("AutoSAM", "h(g(I))", "SAM, AutoSAM's mask")
FIXED = ("SAM, true point", "SAM, true mask")
ROWS = (*TRAINED, *FIXED, "U-Net")
IMAGENET = {"hardnet85": "hardnet85", "efficientnet_lite0": "efficientnet_lite0", "sam": "efficientnet_lite0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets, default $AMSAM_DATA")
    parser.add_argument("--dataset", required=True, nargs="+", choices=list(TABLE["datasets"]))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=[*ROWS, "time", "pictures"], metavar="ROW")
    parser.add_argument("--backbones", nargs="+", default=["sam"], choices=BACKBONES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shots", type=int, default=0, help="train on so many images of each draw")
    parser.add_argument("--phantoms", type=int, default=0, help="ISIC: so many phantoms mixed into the training")
    parser.add_argument("--universal", action="store_true")
    parser.add_argument("--flips", nargs="*", default=[], choices=list(FLIPS))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--light-epochs", type=int, default=8)
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--frozen-companion", action="store_true", help="g `sam` on EfficientNet-Lite0 as it is")
    parser.add_argument("--pretrained-rate", type=float, default=0.1, help="share of the rate for a tuned companion")
    parser.add_argument("--colour", type=float, default=0.2, help="random change of colours before g")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the training")
    parser.add_argument("--lora-rank", type=int, default=0)
    parser.add_argument("--start", type=Path, help="--out of an earlier run, whose networks train on")
    parser.add_argument("--random-backbone", action="store_true", help="leave ImageNet weights out")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--prompt-size", type=int, help="side at which g sees the image, by default its own")
    parser.add_argument("--sam", nargs=2, default=["vit_t", "mobile_sam"], metavar=("BACKBONE", "WEIGHTS"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    benches = [Bench(name, arguments) for name in arguments.dataset]
    if arguments.universal:
        for seed in range(arguments.seeds):
            run_universal(benches, seed)
    else:
        for bench in benches:
            bench.run_all()
    summarise(arguments.out)


class Bench:
    """The data of one set, and its runs."""

    def __init__(self, dataset: str, arguments: argparse.Namespace) -> None:
        self.dataset, self.arguments, self.device = dataset, arguments, torch.device(arguments.device)
        self.bundle = TABLE["datasets"][dataset]["bundle"]
        root = Path(arguments.data or os.environ["AMSAM_DATA"]) / dataset
        self.datalist = isic_datalist(root) if dataset == "isic" else image_folder_datalist(root, preset=dataset)
        self.load = Compose([LoadCased(), Intensityd(mode="bit_depth"), ToThreeChannelsd()])
        self._loaded: dict[str, dict[str, Any]] = {}

    def run_all(self) -> None:
        rows = self.arguments.rows
        for seed in range(self.arguments.seeds):
            for backbone in self.arguments.backbones:
                for row in (row for row in TRAINED if row in rows):
                    self.once(row, backbone, seed, lambda row=row, b=backbone, s=seed: self.trained_row(row, b, s))
            if "U-Net" in rows:
                self.once("U-Net", "", seed, lambda s=seed: self.unet(s))
        for row in (row for row in FIXED if row in rows):
            self.once(row, "", 0, lambda row=row: self.fixed_row(row))
        for backbone in self.arguments.backbones:
            if "time" in rows:
                self.once("time", backbone, 0, lambda b=backbone: self.time(b))
            if "pictures" in rows:
                self.pictures(backbone)

    def once(self, row: str, backbone: str, seed: int, compute: Callable[[], dict[str, Any]]) -> None:
        """Run `compute` unless its result is there."""
        shots = f"{self.arguments.shots}shots" if self.arguments.shots else ""
        if self.flips(row):
            row += ", mirrored"
        slug = re.sub(r"[^a-z]+", "_", row.lower()).strip("_")
        parts = [self.dataset, slug, backbone, shots, str(seed)]
        path = self.arguments.out / "runs" / ("-".join(part for part in parts if part) + ".json")
        if path.is_file():
            return
        keys = {"dataset": self.dataset, "row": row, "backbone": backbone, "shots": self.arguments.shots, "seed": seed}
        result = {**keys, **compute()}
        with whole_file(path) as part:
            part.write_text(json.dumps(result, indent=1), encoding="utf-8")
        shown = f"Dice {result['dice']:.4f} IoU {result['iou']:.4f}" if "dice" in result else result
        print(f"{self.dataset} {row} {backbone} {shots} {seed}: {shown}", flush=True)

    def flips(self, row: str) -> list[str]:
        """Mirror images that take part in a row: those asked for, in the rows of the method itself."""
        return self.arguments.flips if row in TRAINED[:2] else []

    def ids(self, seed: int) -> tuple[list[str], list[str]]:
        """Of the images that train, and of those that score."""
        if self.arguments.shots or self.dataset == "isic":
            shots = self.arguments.shots or 16  # of ISIC's few images the largest draw is the training part
            parts = cut(self.datalist, shots=shots, draw=seed, listed=self.dataset, validation=0)
            return tuple([str(case["case_id"]) for case in parts[name]] for name in ("train", "test"))
        split = split_sections(self.dataset, "validation")
        return split["training"], split["validation"]

    def test(self, seed: int) -> list[dict[str, Any]]:
        """Images that score."""
        by_id = {str(case["case_id"]): case for case in self.datalist}
        names = self.ids(seed)[1]
        for name in names:
            if name not in self._loaded:
                self._loaded[name] = self.load(by_id[name])
        return [self._loaded[name] for name in names]

    def cases(self, seed: int) -> dict[str, list[dict[str, Any]]]:
        """The parts as entries of the datalist; none validates."""
        by_id = {str(case["case_id"]): case for case in self.datalist}
        train, test = self.ids(seed)
        return {"train": [by_id[name] for name in train], "val": [], "test": [by_id[name] for name in test]}

    def overrides(self, backbone: str, seed: int, **more: Any) -> dict[str, Any]:
        """What the command line changes of the bundle's training."""
        chosen = self.arguments
        name, weights = chosen.sam
        return {
            "max_epochs": chosen.epochs,
            "batch_size": chosen.batch_size,
            "learning_rate": chosen.learning_rate,
            "views": chosen.views,
            "precision": chosen.precision,
            "colour": chosen.colour,
            "pretrained_rate": chosen.pretrained_rate,
            "seed": seed,
            "device": self.device,
            "settings#sam#backbone": name,
            "settings#sam#weights": weights,
            "settings#sam#image_size": chosen.image_size,
            "settings#arguments#backbone": backbone,
            "settings#arguments#backbone_weights": None if chosen.random_backbone else IMAGENET[backbone],
            "settings#arguments#tuned": backbone == "sam" and not chosen.frozen_companion,
            "settings#arguments#lora_rank": chosen.lora_rank,
            "settings#arguments#prompt_size": chosen.prompt_size,
            **({"mixed_phantoms": chosen.phantoms} if self.dataset == "isic" else {}),
            **more,
        }

    def train(
        self, row: str, backbone: str, seed: int, root: Path | str, handlers: Sequence[Any] = (), **more: Any
    ) -> TrainingResult:
        """The bundle's own training with a row's overrides, written to `root`."""
        chosen = TABLE["rows"][row]
        overrides = {**(UNCACHED if not chosen.cached else {}), **self.overrides(backbone, seed, **more)}
        return run_training(
            self.bundle,
            configs=("train", *chosen.configs),
            datalist=self.cases(seed),
            root=root,
            overrides=chosen.overrides(overrides),
            handlers=handlers,
        )

    @contextmanager
    def batches(self, backbone: str, seed: int, domains: int) -> Iterator[Any]:
        """The loader of the bundle's own training."""
        overrides = self.overrides(backbone, seed, **{"settings#arguments#domains": domains})
        with bundle_workflow(self.bundle, datalist=self.cases(seed), overrides=overrides) as workflow:
            yield workflow.parser.get_parsed_content("train#dataloader")

    def network(self, backbone: str, seed: int) -> AutoSAM:
        """As built, before training."""
        settings = {"datalist": self.cases(seed), "overrides": self.overrides(backbone, seed)}
        with bundle_workflow(self.bundle, **settings) as workflow:
            return workflow.parser.get_parsed_content("network")

    def trained(self, backbone: str, seed: int) -> tuple[AutoSAM, dict[str, Any]]:
        """AutoSAM and its h, trained or from an earlier run."""
        name = f"{self.dataset}-{backbone}-{self.arguments.shots}-{seed}"
        root, facts = self.arguments.out / "networks" / name, self.arguments.out / "networks" / f"{name}.json"
        if facts.is_file():
            model = read_model(root / "models" / "model.pt")
            net: Any = build_network(model.settings).to(self.device)
            return load_adapter(net, model.path), json.loads(facts.read_text(encoding="utf-8"))
        row, start = "AutoSAM", {}
        if self.arguments.start:
            earlier = self.arguments.start / "networks" / name / "models" / "model.pt"
            if not earlier.is_file():
                raise SystemExit(f"--start must hold an earlier run's networks, but there is no {earlier}.")
            row, start = "AutoSAM, trained on", {"start": str(earlier.resolve())}
        result = self.train(row, backbone, seed, root, **start)
        seconds = {"train": result.seconds}
        light = {"settings#arguments#light": True, "max_epochs": self.arguments.light_epochs, "learning_rate": 1e-3}
        result = self.train("AutoSAM", backbone, seed, root, **light)
        seconds["train_h"] = result.seconds
        told = {"seconds": seconds, "images": len(self.cases(seed)["train"])}
        with whole_file(facts) as part:
            part.write_text(json.dumps(told), encoding="utf-8")
        return result.network.use_light(False), told

    def trained_row(self, row: str, backbone: str, seed: int) -> dict[str, Any]:
        net, facts = self.trained(backbone, seed)
        net.use_light(row == "h(g(I))").eval()
        prompt = None
        if row == "SAM, AutoSAM's mask":

            def prompt(sample: dict[str, Any], embedding: torch.Tensor) -> Prompts:
                image = sample["image"].as_tensor()[None].to(self.device)
                frame = net.frame(image)
                pixels = frame.image(image, net.sam.fill)
                return Prompts(mask=net.predict(pixels, embedding, Prompts(), frame).logits[:, 1:])

        return {**self.score(net, seed, prompt, flips=self.flips(row)), **facts}

    def fixed_row(self, row: str) -> dict[str, Any]:
        net = self.network("sam", 0).eval()
        if row == "SAM, true point":
            return self.score(net, 0, lambda sample, _: point_prompt(sample["label"]), plain=True)
        return self.score(net, 0, lambda sample, _: mask_prompt(sample["label"], net))

    def unet(self, seed: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="amsam-bench-") as folder:
            result = self.train("U-Net", "sam", seed, folder)
        images = len(self.cases(seed)["train"])
        return {**self.score(result.network, seed), "seconds": {"train": result.seconds}, "images": images}

    @torch.no_grad()
    def score(
        self, net: Any, seed: int, prompt: Any = None, *, plain: bool = False, flips: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Dice and IoU of the images that score; `plain` takes SAM's own "no mask" prompt for g's."""
        net.eval()
        test = self.test(seed)
        cache = embedding_cache(net) if isinstance(net, AutoSAM) else None
        strict, theirs = get_protocol("strict"), get_protocol("autosam", side=TABLE["datasets"][self.dataset]["side"])
        found: dict[str, list[float]] = {name: [] for name in ("dice", "iou", "dice_autosam", "iou_autosam")}
        for sample in test:
            image = sample["image"].as_tensor()[None].to(self.device)
            segment = partial(plain_sam, net) if plain else net
            answers = []
            for dims in flip_sets(flips):
                turned, arguments = image.flip(dims), {}
                if cache is not None:
                    embedding = cache.get_or_compute(turned[0], net.encode, device=self.device)[None].to(image)
                    asked = None if prompt is None else prompt(sample, embedding).to(self.device)
                    arguments = {"embedding": embedding, "prompts": asked}
                answers.append([segment(turned, low_res=low, **arguments).flip(dims) for low in (False, True)])
            native, logits = (mean_logits(part, floor=1e-6) for part in zip(*answers, strict=True))
            label = (sample["label"].as_tensor()[0] == 1).long()  # (H, W)
            for suffix, protocol, maps in (
                ("", strict, strict.from_logits(native, label[None])),
                ("_autosam", theirs, theirs.from_logits(logits, label[None])),
            ):
                for score in score_case(
                    *maps, {1: "foreground"}, protocol=protocol, on_grid=True, metrics=("dice", "iou"), workers=1
                ):
                    for name in ("dice", "iou"):
                        found[name + suffix].append(score.values[name])
        per_image = dict(zip((str(sample["case_id"]) for sample in test), found["dice"], strict=True))
        return {**{name: float(np.nanmean(values)) for name, values in found.items()}, "per_image": per_image}

    def time(self, backbone: str) -> dict[str, Any]:
        test = self.test(0)
        return time_parts(self.network(backbone, 0).eval(), [sample["image"].as_tensor() for sample in test[:10]])

    def pictures(self, backbone: str) -> None:
        net, _ = self.trained(backbone, 0)
        path = self.arguments.out / f"pictures-{self.dataset}-{backbone}.png"
        with whole_file(path) as part:
            picture_sheet(net.eval(), self.test(0)[:6]).save(part, format="PNG")


class InTurn:
    """Batches of several loaders, spread evenly over the epoch of each; tells the network whose a batch is."""

    def __init__(self, loaders: Sequence[Any]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return sum(map(len, self.loaders))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        places = [(step / len(one), domain) for domain, one in enumerate(self.loaders) for step in range(len(one))]
        streams = [iter(loader) for loader in self.loaders]
        for _, domain in sorted(places):
            batch = next(streams[domain])
            yield {**batch, "domain": torch.full((len(batch["image"]),), domain)}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self.tell)

    def tell(self, engine: Engine) -> None:
        engine.network.domain = int(engine.state.batch["domain"][0])


def run_universal(benches: list[Bench], seed: int) -> None:
    """One g for all data sets, with a token for each: their bundles' own batches in turn, the first one's training."""
    first, backbone, result = benches[0], benches[0].arguments.backbones[0], None
    for domain, bench in enumerate(benches):

        def compute(domain: int = domain, bench: Bench = bench) -> dict[str, Any]:
            nonlocal result
            if result is None:
                with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="amsam-bench-") as folder:
                    batches = InTurn(
                        [stack.enter_context(one.batches(backbone, seed, len(benches))) for one in benches]
                    )
                    more = {"settings#arguments#domains": len(benches), "train#dataloader": batches}
                    result = first.train("AutoSAM", backbone, seed, folder, handlers=[batches], **more)
            result.network.domain = domain
            return bench.score(result.network, seed)

        bench.once("AutoSAM, one g for all", backbone, seed, compute)


def summarise(out: Path) -> None:
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((out / "runs").glob("*.json"))]
    lines = [
        "| data | row | backbone | images | Dice | IoU | Dice (autosam) | IoU (autosam) | training s | runs |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
        *groups(runs),
    ]
    text = "\n".join(lines) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    (out / "results.json").write_text(json.dumps(runs, indent=1), encoding="utf-8")
    print(text)


def groups(runs: list[dict[str, Any]]) -> Iterator[str]:
    """One line per data set, row, backbone and number of shots: mean and sd over seeds, in per cent."""
    scored = [run for run in runs if "dice" in run]
    for key in dict.fromkeys((run["dataset"], run["row"], run["backbone"], run["shots"]) for run in scored):
        group = [run for run in scored if (run["dataset"], run["row"], run["backbone"], run["shots"]) == key]
        cells = []
        for name in ("dice", "iou", "dice_autosam", "iou_autosam"):
            values = [100 * run[name] for run in group]
            cells.append(f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""))
        seconds = [sum(run["seconds"].values()) for run in group if "seconds" in run]
        spent = f"{np.median(seconds):.0f}" if seconds else ""
        yield "| " + " | ".join([*key[:3], str(group[0].get("images", "")), *cells, spent, str(len(group))]) + " |"


if __name__ == "__main__":
    main()
