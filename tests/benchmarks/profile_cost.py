"""CPU seconds an architecture: our profiling path against the plain loop, and against our network without counting.

Prints one JSON line. One thread, alternating in one process, on the same architectures: only ratios travel to another machine.

    python tests/benchmarks/profile_cost.py [--archs 40] [--batch-size 64] [--rounds 3]
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from sweetgrad.profiling import Network, draw_batch, load_images, profile_architectures
from sweetgrad.profiling.architectures import make_spec
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201


def forward_backward(network: Network, x: torch.Tensor, y: torch.Tensor) -> None:
    """Train mode, mean cross-entropy, gradients on the parameters."""
    network.module.train()
    F.cross_entropy(network.module(x), y).backward()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)

    ours, literal = NasBench201(), NasBench201(skip_dead=False)
    batch = draw_batch(load_images("synthetic"), batch_size=options.batch_size, seed=42)
    spec = make_spec(ours, batch)
    indices = sorted(np.random.RandomState(0).permutation(len(ours))[: options.archs].tolist())
    x, y = torch.from_numpy(batch.x), torch.from_numpy(batch.y)
    x_last = x.contiguous(memory_format=torch.channels_last)

    def plain(index: int) -> None:
        torch.manual_seed(spec.seed)
        forward_backward(literal.build(literal.arch_id(index)), x, y)

    def uncounted(index: int) -> None:
        torch.manual_seed(spec.seed)
        network = ours.build(ours.arch_id(index))
        network.module.to(memory_format=torch.channels_last)
        forward_backward(network, x_last, y)

    def profiled(index: int) -> None:
        profile_architectures(ours, [index], batch, spec)

    loops: dict[str, Callable[[int], None]] = {"plain": plain, "forward_backward": uncounted, "profile": profiled}
    seconds: dict[str, list[list[float]]] = {name: [] for name in loops}
    for loop in loops.values():  # the first call pays for lazy initialisation
        loop(indices[0])
    for index in indices:
        rounds: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(options.rounds):
            for name, loop in loops.items():
                start = time.process_time()
                loop(index)
                rounds[name].append(time.process_time() - start)
        for name, values in rounds.items():
            seconds[name].append(values)
    # The fastest round of each architecture: other users of the machine only ever add time.
    total = {name: sum(min(values) for values in per_arch) for name, per_arch in seconds.items()}
    print(
        json.dumps(
            {
                "benchmark": "profile_cost",
                "ratio_to_plain": round(total["profile"] / total["plain"], 3),
                "ratio_to_forward_backward": round(total["profile"] / total["forward_backward"], 3),
                "plain_seconds_per_arch": round(total["plain"] / len(indices), 4),
                "profile_seconds_per_arch": round(total["profile"] / len(indices), 4),
                "median_ratio_to_plain": round(
                    median(min(p) / min(q) for p, q in zip(seconds["profile"], seconds["plain"], strict=True)), 3
                ),
                "archs": len(indices),
                "batch_size": options.batch_size,
                "image": list(batch.x.shape[1:]),
                "rounds": options.rounds,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
