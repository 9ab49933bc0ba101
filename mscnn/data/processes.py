"""Work shared by processes that ``torchrun`` or ``accelerate launch`` started: torch's DDP.

In training the global batch is the same whatever the number of processes: each takes an equal
part, so averages equal what one process gets that cuts its batches likewise (``--accumulate``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from timm.utils import distribute_bn, is_distributed_env
from timm.utils.distributed import init_distributed_device_so, world_info_from_env
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mscnn.errors import DeviceError, OptionError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among ``size`` that work together; only rank 0 writes and speaks."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return what to call for training: the model, or DDP around it."""
        if self.size == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        # Batch statistics stay per process within an epoch; ``average_buffers`` joins them.
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def sum(self, value: float) -> float:
        """Add a number over all processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return float(total)

    def gather(self, mine: T) -> list[T]:
        """Return what all processes give, this one included, in order of rank."""
        if self.size == 1:
            return [mine]
        found: list[T] = [mine] * self.size
        distributed.all_gather_object(found, mine)
        return found

    def average_buffers(self, model: nn.Module) -> None:
        """Replace batch norm's running statistics by their mean over all processes."""
        if self.size > 1:
            distribute_bn(model, self.size, reduce=True)

    def wait(self) -> None:
        """Return once all processes have come here."""
        if self.size > 1:
            distributed.barrier()


def _are_several() -> bool:
    # SLURM counts a job's tasks also for a command that is started once.
    return is_distributed_env() and not os.environ.keys().isdisjoint(("WORLD_SIZE", "MASTER_ADDR"))


def is_first_by_environment() -> bool:
    """Whether this process is the only or the first one, also before it joins the others."""
    return not _are_several() or world_info_from_env()[1] == 0


@contextmanager
def sharing(device: torch.device) -> Iterator[Processes]:
    """Join the processes that were started.

    Raises ``OptionError`` for several of them on mps, ``DeviceError`` for more than GPUs.
    """
    if not _are_several():
        yield Processes(device)
        return
    if device.type == "mps":
        raise OptionError("Several processes cannot share mps; use --device cpu, or one process.")
    if device.type == "cuda" and world_info_from_env()[0] >= (gpus := torch.cuda.device_count()):
        raise DeviceError(
            f"There are more processes on this machine than GPUs that each of them sees ({gpus}); "
            "start one for each GPU, or use --device cpu."
        )
    # gloo for CPUs, NCCL for CUDA: timm's choice.
    joined = init_distributed_device_so(device=device.type)
    try:
        yield Processes(torch.device(joined["device"]), joined["global_rank"], joined["world_size"])
    finally:
        # So that no other process waits for this one.
        if distributed.is_initialized():
            distributed.destroy_process_group()
