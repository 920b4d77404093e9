"""Training with several processes, as torchrun starts them."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist


def join_processes() -> None:
    """Join the group of processes: NCCL where there are GPUs, gloo elsewhere.

    Raises:
        ValueError: torchrun did not start this process.
    """
    _local_rank()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def device_of_process() -> torch.device:
    """This process's GPU, or the CPU where there is none.

    Raises:
        ValueError: torchrun did not start this process.
    """
    rank = _local_rank()
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def _local_rank() -> int:
    rank = os.environ.get("LOCAL_RANK")
    if rank is None:
        raise ValueError("several processes must be started by torchrun, which sets LOCAL_RANK; it is not set.")
    return int(rank)
