"""nnU-Net's trainer with a schedule that ends within some minutes; read by nnU-Net in its own environment.

Environment variables: BENCH_MINUTES, BENCH_CLOCK (wall or processor), BENCH_THREADS, BENCH_SEED. All else is
nnU-Net's: plans, network, augmentation, loss, optimizer, polynomial decay, here from step to step.
"""

import json
import os
import random
from pathlib import Path

import numpy as np
import torch
from benchmarks.own.clock import Clock
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

WARM, TIMED = 1, 2


class ShortTrainer(nnUNetTrainer):
    """Trains for as many iterations as fit into the minutes, of which one is timed first; never validates."""

    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cpu")):  # read by name
        threads = int(os.environ.get("BENCH_THREADS", "1"))
        self.clock = Clock(float(os.environ.get("BENCH_MINUTES", "1")), os.environ.get("BENCH_CLOCK", "wall"), threads)
        torch.set_num_threads(threads)
        seed = int(os.environ.get("BENCH_SEED", "0"))
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        super().__init__(plans, configuration, fold, dataset_json, device)

    def run_training(self):
        """Time an iteration, then train to the end of the minutes."""
        self.on_train_start()
        self.network.train()
        step, steps, begun, seconds, loss = 0, 10**6, 0.0, 0.0, float("nan")
        while step < steps:
            if step == WARM:
                begun = self.clock.seconds()
            if step == WARM + TIMED:
                seconds = (self.clock.seconds() - begun) / TIMED
                steps = step + self.clock.steps_left(seconds)
                self.print_to_log_file(f"{seconds:.2f} s an iteration, {steps} iterations")
                if step >= steps:
                    break
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1 - step / steps) ** 0.9
            loss = float(self.train_step(next(self.dataloader_train))["loss"])
            step += 1
            if step % 10 == 0:
                self.print_to_log_file(f"iteration {step} of {steps}: loss {loss:.3f}, {self.clock.seconds():.0f} s")
        facts = {"steps": step, "seconds_a_step": seconds, "last_loss": loss, "seconds": self.clock.seconds()}
        (Path(self.output_folder) / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        self.current_epoch = 1
        self.on_train_end()

    def perform_actual_validation(self, save_probabilities=False):
        """Nothing: all cases train."""

    def plot_network_architecture(self):
        """Nothing: it needs Graphviz."""
