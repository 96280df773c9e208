"""How many processes work on each GPU: one network of a benchmark is far from filling a card, and is waited for by one core."""

import logging
import os
from collections.abc import Callable

MOST_PROCESSES = 8
"""On an H200 with 16 cores more than these do not measure more architectures a second (docs/performance.md)."""
CONTEXT_BYTES = 700 * 2**20
"""What CUDA and its libraries take of a card's memory for each process, outside torch's allocator."""

SHARE_VARIABLE = "SWEETGRAD_PROCESSES_ON_GPU"
"""Set for each worker process of this machine: how many processes use its GPU."""

_logger = logging.getLogger(__name__)


def processes_that_fit(*, num_gpus: int, num_cores: int, free_bytes: int, needed_bytes: int) -> int:
    """Processes for each GPU, from what a machine has and what a network needs at most; at least 1.

    Parameters
    ----------
    num_gpus, num_cores
        That this run may use; a process keeps one core busy.
    free_bytes
        Free memory of a GPU.
    needed_bytes
        Memory of the largest network that was tried. Twice that is set aside, since others may be larger.

    Examples
    --------
    >>> processes_that_fit(num_gpus=1, num_cores=16, free_bytes=80 * 2**30, needed_bytes=2**30)
    8
    >>> processes_that_fit(num_gpus=2, num_cores=8, free_bytes=80 * 2**30, needed_bytes=2**30)
    4
    >>> processes_that_fit(num_gpus=1, num_cores=16, free_bytes=8 * 2**30, needed_bytes=2**30)
    2
    """
    by_cores = num_cores // num_gpus
    by_memory = free_bytes // (2 * needed_bytes + CONTEXT_BYTES)
    return max(1, min(MOST_PROCESSES, by_cores, by_memory))


def choose_processes(try_out: Callable[[], object], *, num_gpus: int, num_cores: int) -> int:
    """Processes for each GPU of this machine (`processes_that_fit`), after networks were tried in this one, on the first GPU."""
    import torch

    torch.cuda.reset_peak_memory_stats()
    try_out()
    needed = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    number = processes_that_fit(num_gpus=num_gpus, num_cores=num_cores, free_bytes=free, needed_bytes=needed)
    _logger.info("%d processes a GPU: a network takes %d MiB, %d are free", number, needed >> 20, free >> 20)
    return number


def limit_share() -> None:
    """Limit torch's allocator to a share of the GPU, if other processes use it too; it frees its cache before it exceeds that."""
    number = int(os.environ.get(SHARE_VARIABLE, "1"))
    if number == 1:
        return
    import torch

    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(max(0.05, 1 / number - CONTEXT_BYTES / total))
