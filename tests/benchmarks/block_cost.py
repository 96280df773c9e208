"""CPU time of each block as a multiple of one forward and backward pass of the same network, and peak memory of per_image.

Prints one JSON line. One thread, alternating in one process, on the same architectures: only ratios travel to another machine.

* ``passes``: what a block adds to the counts (the time with the block less the time without), divided by one forward and backward
  pass of the same network (channels-last, dead paths skipped). ``counts`` is the pass and counting.
* ``core`` and ``all``: the counts and several blocks together, from one shared pass.

glibc keeps freed memory, as in the workers of a run: otherwise several blocks together pay for the pages of every tensor anew.

Memory is how far the peak of a process rises above what it held with the network and the batch loaded.

    python tests/benchmarks/block_cost.py [--archs 10] [--batch-size 64] [--rounds 3]
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from estimator_cost import LARGEST, Built, forward_backward, peak_of

from sweetgrad.flows.cluster.worker import keep_freed_memory
from sweetgrad.flows.inputs import select_blocks
from sweetgrad.profiling import Batch, draw_batch, load_examples, load_space, make_spec
from sweetgrad.profiling.architectures import load_functions
from sweetgrad.profiling.estimators.running import measure_with_estimators
from sweetgrad.profiling.measure import Builder, to_device
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.store import STATISTICS

CORE = ("tensor_sums", "second_batch", "image_jacobian", "relu_patterns", "noise_pass")
ALL = select_blocks(["all"])


def loops_of(arch: str, batch: Batch) -> dict[str, Callable[[], object]]:
    """What is timed, on a network that was built before."""
    space = load_space("nas-bench-201")
    builder = Builder(space, arch, make_spec(space, batch))
    x, y = to_device(batch, "cpu")
    assert batch.second is not None
    second = to_device(batch.second, "cpu")
    network = builder.network()
    built = Built(space, arch, builder.spec, network)
    functions = load_functions((), tuple(STATISTICS), spec=builder.spec, batch=batch)
    by_name = {block.name: (block, function) for block, function in functions.items()}

    def measured(*names: str, count: bool = True) -> None:
        chosen = dict(by_name[name] for name in names)
        measure_with_estimators(built, x, y, chosen, seed=42, second=second, count=count)

    loops: dict[str, Callable[[], object]] = {
        "pass": lambda: forward_backward(network.module, x, y),
        "counts": measured,
        "per_image alone": lambda: measured("per_image", count=False),
        "core": lambda: measured(*CORE),
        "all": lambda: measured(*ALL),
    }
    return loops | {name: partial(measured, name) for name in STATISTICS}


def measure(indices: list[int], batch: Batch, *, rounds: int) -> dict[str, float]:
    """Total CPU seconds over the architectures, the fastest round of each: other users of the machine only ever add time."""
    total: dict[str, float] = {}
    for index in indices:
        loops = loops_of(NasBench201().arch_id(index), batch)
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(rounds + 1):  # the first round pays for lazy initialisation
            for name, loop in loops.items():
                start = time.process_time()
                loop()
                seconds[name].append(time.process_time() - start)
        for name, values in seconds.items():
            total[name] = total.get(name, 0.0) + min(values[1:])
    return total


def peak_megabytes(loop: str, batch_size: int) -> float:
    """How far a loop on the largest network raises the peak of a process of its own."""
    command = [sys.executable, __file__, "--peak", loop, "--batch-size", str(batch_size)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    batch = draw_batch(load_examples("synthetic"), batch_size=options.batch_size, seed=42, second=True)
    if options.peak:
        print(peak_of(loops_of(LARGEST, batch)[options.peak]))
        return
    keep_freed_memory()
    indices = sorted(np.random.RandomState(0).permutation(len(NasBench201()))[: options.archs].tolist())
    total = measure(indices, batch, rounds=options.rounds)
    together = {name: total[name] / total["pass"] for name in ("counts", "core", "all")}
    alone = {name: (total[name] - total["counts"]) / total["pass"] for name in STATISTICS}
    peaks = {loop: peak_megabytes(loop, options.batch_size) for loop in ("pass", "per_image alone")}
    print(
        json.dumps(
            {
                "benchmark": "block_cost",
                "passes": {name: round(value, 3) for name, value in {**together, **alone}.items()},
                "pass_seconds_per_arch": round(total["pass"] / len(indices), 4),
                "peak_mib": {name: round(value) for name, value in peaks.items()},
                "per_image_peak_to_pass": round(peaks["per_image alone"] / peaks["pass"], 3),
                "archs": len(indices),
                "batch_size": options.batch_size,
                "rounds": options.rounds,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
