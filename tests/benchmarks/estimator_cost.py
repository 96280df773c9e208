"""CPU time of each estimator as a multiple of one forward and backward pass of the same network, and peak memory of gradsign.

Prints one JSON line. One thread, alternating in one process, on the same architectures: only ratios travel to another machine.

* ``to_ours``: divided by one forward and backward pass of our network (channels-last, dead paths skipped).
* ``to_plain``: divided by one of the literal network in PyTorch's default memory format, as anybody would write it.

Each time holds all that the estimator alone needs: the shared pass, if it needs that, and networks that it builds for itself.
Memory is how far the peak of a process rises above what it held with the network and the batch loaded.

    python tests/benchmarks/estimator_cost.py [--archs 10] [--batch-size 64] [--rounds 3] [--only gradsign,grasp]
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from sweetgrad.profiling import Batch, Network, draw_batch, load_examples, load_space, make_spec, registered, registry
from sweetgrad.profiling.estimators.running import measure_with_estimators
from sweetgrad.profiling.measure import Builder, to_device
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201

TOGETHER = ("grad_norm", "snip", "fisher", "naswot", "jacob_cov")
SLOW = {"te_nas_condition": 1, "zen_score": 1}
LARGEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@dataclass(frozen=True)
class Built(Builder):
    """Gives the network that is there already: building it is not what is timed."""

    built: Network

    def network(self) -> Network:
        return self.built


def forward_backward(module: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """One pass, and nothing else."""
    module.zero_grad()
    F.cross_entropy(module(images), labels).backward()


def loops_of(arch: str, batch: Batch, names: list[str]) -> dict[str, Callable[[], object]]:
    """What is timed, on networks that were built before."""
    space = load_space("nas-bench-201")
    builder = Builder(space, arch, make_spec(space, batch))
    x, y = to_device(batch, "cpu")
    network, literal, x_plain = builder.network(), builder.whole(), torch.from_numpy(batch.x)
    literal.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stubs lack memory_format

    built = Built(space, arch, builder.spec, network)
    functions = {name: registry.load("estimators", name) for name in {*names, *TOGETHER}}

    def scored(chosen: tuple[str, ...], *, counted: bool) -> None:
        estimators = {name: functions[name] for name in chosen}
        measure_with_estimators(built, x, y, estimators, seed=42, count=counted)

    loops: dict[str, Callable[[], object]] = {
        "ours": lambda: forward_backward(network.module, x, y),
        "plain": lambda: forward_backward(literal.module, x_plain, y),
        "histogram": lambda: scored((), counted=True),
        "together": lambda: scored(TOGETHER, counted=True),
    }
    return loops | {name: lambda name=name: scored((name,), counted=False) for name in names}


def measure(indices: list[int], batch: Batch, names: list[str], *, rounds: int) -> dict[str, float]:
    """Total CPU seconds over the architectures, the fastest round of each: other users of the machine only ever add time."""
    total: dict[str, float] = {}
    for index in indices:
        loops = loops_of(NasBench201().arch_id(index), batch, names)
        seconds: dict[str, list[float]] = {}
        for number in range(rounds + 1):  # the first round pays for lazy initialisation
            for name, loop in loops.items():
                if number > SLOW.get(name, rounds):
                    continue
                start = time.process_time()
                loop()
                seconds.setdefault(name, []).append(time.process_time() - start)
        for name, values in seconds.items():
            total[name] = total.get(name, 0.0) + min(values[1:])
    return total


def peak_megabytes(loop: str, batch_size: int) -> float:
    """How far a loop on the largest network raises the peak of a process of its own."""
    command = [sys.executable, __file__, "--peak", loop, "--batch-size", str(batch_size)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak_of(function: Callable[[], object]) -> float:
    """How far a function raises the peak of this process over what is there before, in MiB."""
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    function()
    return (_memory("VmHWM") - before) / 1024


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--peak", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    batch = draw_batch(load_examples("synthetic"), batch_size=options.batch_size, seed=42)
    if options.peak:
        print(peak_of(loops_of(LARGEST, batch, ["gradsign"])[options.peak]))
        return
    names = options.only.split(",") if options.only else registered("estimators")
    indices = sorted(np.random.RandomState(0).permutation(len(NasBench201()))[: options.archs].tolist())
    total = measure(indices, batch, names, rounds=options.rounds)
    peaks = {loop: peak_megabytes(loop, options.batch_size) for loop in ("ours", "gradsign")}
    weights = 4 * sum(p.numel() for p in NasBench201().build(LARGEST).module.parameters()) / 2**20
    print(
        json.dumps(
            {
                "benchmark": "estimator_cost",
                "to_ours": {name: round(seconds / total["ours"], 3) for name, seconds in total.items()},
                "to_plain": {name: round(seconds / total["plain"], 3) for name, seconds in total.items()},
                "ours_seconds_per_arch": round(total["ours"] / len(indices), 4),
                "gradsign_peak_mib": round(peaks["gradsign"]),
                "gradsign_peak_limit_mib": round(1.2 * peaks["ours"] + weights),
                "archs": len(indices),
                "batch_size": options.batch_size,
                "rounds": options.rounds,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
