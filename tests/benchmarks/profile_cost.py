"""CPU seconds an architecture: our profiling path against the plain loop, and against our network without counting.

Prints one JSON line. One thread, alternating in one process, on the same architectures: only ratios travel to another machine.

    python tests/benchmarks/profile_cost.py [--archs 40] [--batch-size 64] [--rounds 3]
    python tests/benchmarks/profile_cost.py --space darts --space-option channels=16 --space-option cells=8
    python tests/benchmarks/profile_cost.py --space nas-bench-101 --space-file nas-bench-101.csv.gz --archs 5
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from sweetgrad.flows.cli.arguments import read_options
from sweetgrad.profiling import Network, draw_batch, load_examples, load_space, make_spec, profile_architectures


def forward_backward(network: Network, x: torch.Tensor, y: torch.Tensor) -> None:
    """Train mode, mean cross-entropy, gradients on the parameters."""
    network.module.train()
    F.cross_entropy(network.module(x), y).backward()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="nas-bench-201")
    parser.add_argument("--space-file", default=None)
    parser.add_argument("--space-option", action="append")
    parser.add_argument("--archs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)

    space_options = read_options(options.space_option, what="a space option", example="channels=16")
    ours = load_space(options.space, table=options.space_file, options=space_options)
    build_literal = getattr(ours, "build_literal", ours.build)
    batch = draw_batch(load_examples("synthetic"), batch_size=options.batch_size, seed=42)
    spec = make_spec(ours, batch)
    shape = {"in_channels": batch.x.shape[1], "num_classes": batch.num_classes}
    indices = sorted(np.random.RandomState(0).permutation(len(ours))[: options.archs].tolist())
    x, y = torch.from_numpy(batch.x), torch.from_numpy(batch.y)
    x_last = x.contiguous(memory_format=torch.channels_last)

    def plain(index: int) -> None:
        torch.manual_seed(spec.seed)
        forward_backward(build_literal(ours.arch_id(index), **shape), x, y)

    def built(index: int) -> None:
        torch.manual_seed(spec.seed)
        module = ours.build(ours.arch_id(index), **shape).module
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack memory_format

    def uncounted(index: int) -> None:
        torch.manual_seed(spec.seed)
        network = ours.build(ours.arch_id(index), **shape)
        network.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack memory_format
        forward_backward(network, x_last, y)

    def profiled(index: int) -> None:
        profile_architectures(ours, [index], batch, spec)

    loops: dict[str, Callable[[int], None]] = {
        "build": built,
        "plain": plain,
        "forward_backward": uncounted,
        "profile": profiled,
    }
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
                "space": "-".join(part for part in (ours.name, ours.variant) if part),
                "ratio_to_plain": round(total["profile"] / total["plain"], 3),
                "ratio_to_forward_backward": round(total["profile"] / total["forward_backward"], 3),
                "build_share_of_forward_backward": round(
                    total["build"] / (total["forward_backward"] - total["build"]), 4
                ),
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
