"""Several processes that train together, as torchrun starts them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from ..nn import ranks
from ..record import UsageError


def wait() -> None:
    """Until every process is here."""
    if ranks.world() > 1:
        dist.barrier()


@contextmanager
def together(device: torch.device) -> Iterator[torch.device]:
    """Joins the other processes of torchrun, if there are any; gives the device of this one.

    The group is left when all have finished and nothing of it is held any more: with gloo a process that goes earlier
    can abort another at its exit.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or dist.is_initialized():
        yield device
        return
    if "MASTER_ADDR" not in os.environ:
        raise UsageError(f"WORLD_SIZE is {world}, but nothing else of torchrun is set; start with torchrun or unset it")
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
        gc.collect()
        dist.barrier()
    finally:
        dist.destroy_process_group()
