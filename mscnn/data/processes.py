"""Several processes that train one model: torch's DDP, as ``torchrun`` and ``accelerate`` start it.

The global batch is the same whatever the number of processes: each takes its share. All averages
here are of equal shares, so they equal what one process gets that cuts its batches likewise
(``--accumulate``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from timm.utils import distribute_bn, is_distributed_env
from timm.utils.distributed import init_distributed_device_so, world_info_from_env
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mscnn.errors import OptionError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        device: where this process computes.
        rank: 0 to ``size`` - 1; only rank 0 writes and speaks.
        size: how many there are.
    """

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

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add numbers over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def sum_counts(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Add arrays of counts over all processes."""
        if self.size == 1:
            return counts
        total = torch.from_numpy(counts).to(self.device)
        distributed.all_reduce(total)
        return total.cpu().numpy()

    def gather(self, items: list[list[str]]) -> list[list[str]]:
        """Return the items of all processes, in order of rank, each once."""
        if self.size == 1:
            return items
        parts: list[list[list[str]]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(parts, items)
        return [list(item) for item in dict.fromkeys(tuple(i) for part in parts for i in part)]

    def average_buffers(self, model: nn.Module) -> None:
        """Replace batch norm's running statistics by their mean over all processes."""
        if self.size > 1:
            distribute_bn(model, self.size, reduce=True)

    def wait(self) -> None:
        """Return once all processes have come here."""
        if self.size > 1:
            distributed.barrier()


def is_first_by_environment() -> bool:
    """Whether this process is the only or the first one, also before it joins the others."""
    return not is_distributed_env() or world_info_from_env()[1] == 0


def join_processes(device: torch.device) -> Processes:
    """Join the processes that ``torchrun`` or ``accelerate launch`` started; else be the only one.

    Raises:
        OptionError: several processes were started for a device that cannot be shared so.
    """
    if not is_distributed_env():
        return Processes(device)
    if device.type == "mps":
        raise OptionError("Several processes cannot share mps; use --device cpu, or one process.")
    # gloo for CPUs, NCCL for CUDA: timm's choice.
    joined = init_distributed_device_so(device=device.type)
    return Processes(torch.device(joined["device"]), joined["global_rank"], joined["world_size"])


def leave_processes(processes: Processes) -> None:
    """Take leave of the others, so that none waits for this one."""
    if processes.size > 1 and distributed.is_initialized():
        distributed.destroy_process_group()
