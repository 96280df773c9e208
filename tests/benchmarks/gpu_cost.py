"""Where the time of an architecture goes on a GPU, how much of it is arithmetic, and how far its counts are from the CPU's.

Prints one JSON line: milliseconds of the host a phase and of the GPU's kernels an architecture, with kernels, copies and
synchronisations counted by torch's profiler; the same with both memory formats, alternating; the floor from arithmetic and bytes,
from rates that are measured first; and the share of parameters in another bin than on the CPU. Exit status 2 without a GPU.

    python tests/benchmarks/gpu_cost.py [--archs 24] [--dataset cifar10 --data-dir data] [--compared 12]
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.devices import MEMORY_FORMATS, deterministic, place
from sweetgrad.profiling.measure import Builder, count_layers, forward_backward, measure, to_device


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=24, help="how many, from all over NAS-Bench-201")
    parser.add_argument("--compared", type=int, default=12, help="how many of them also run on the CPU")
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--data-dir")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries the script itself")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU: torch finds no CUDA device here, so there is nothing to measure", file=sys.stderr)
        return 2
    space = load_space("nas-bench-201")
    batch = load_batch(options.dataset, batch_size=options.batch_size, data_dir=options.data_dir)
    spec = make_spec(space, batch, device=options.device)
    indices = np.linspace(0, len(space) - 1, options.archs).astype(int).tolist()
    archs = [space.arch_id(index) for index in indices]
    builders = {
        name: [Builder(space, arch, replace(spec, memory_format=name)) for arch in archs] for name in MEMORY_FORMATS
    }
    batches = {name: to_device(batch, options.device, name) for name in MEMORY_FORMATS}
    facts: dict[str, Any] = {
        "benchmark": "gpu_cost",
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else "none",
        "torch": torch.__version__,
        "dataset": options.dataset,
        "batch_size": options.batch_size,
        "archs": len(archs),
    }
    with deterministic(1):
        seconds: dict[str, list[dict[str, float]]] = {name: [] for name in MEMORY_FORMATS}
        for name in [*MEMORY_FORMATS] * 3:  # the first round warms up
            rounds = [phases(builder, *batches[name]) for builder in builders[name]]
            seconds[name].append({phase: round(1000 * mean(r[phase] for r in rounds), 2) for phase in rounds[0]})
        facts["phases_ms"] = {name: rounds[1:] for name, rounds in seconds.items()}
        facts["traced"] = {name: traced(builders[name][::3], *batches[name]) for name in MEMORY_FORMATS}
        facts["gflop"] = round(mean(gflop(builder, *batches["contiguous"]) for builder in builders["contiguous"]), 2)
        facts["ceilings"] = ceilings(options.device)
    if options.device == "cuda":
        chosen = indices[:: max(1, len(indices) // options.compared)]
        here = profile_architectures(space, chosen, batch, make_spec(space, batch))
        facts["moved"] = {
            name: moved(profile_architectures(space, chosen, batch, replace(spec, memory_format=name)), here)
            for name in MEMORY_FORMATS
        }
    print(json.dumps(facts))
    return 0


def phases(builder: Builder, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """Seconds of the host in each phase; the GPU is waited for only in the last, as in a run, and before the first."""
    finish(x)
    times = [time.perf_counter()]
    torch.manual_seed(builder.spec.seed)
    network = builder.space.build(builder.arch, in_channels=x.shape[1], num_classes=builder.spec.num_classes)
    times.append(time.perf_counter())
    place(network.module.train(), builder.spec.device, builder.spec.memory_format)
    times.append(time.perf_counter())
    _, loss = forward_backward(network.module, x, y, task=builder.task)
    times.append(time.perf_counter())
    finish(x)
    times.append(time.perf_counter())
    count_layers(network, loss)
    times.append(time.perf_counter())
    return dict(
        zip(("build", "place", "pass", "wait", "count"), np.diff(times).tolist(), strict=True),
        total=times[-1] - times[0],
    )


def traced(builders: list[Builder], x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    """Kernels, copies, synchronisations and milliseconds of kernels, an architecture."""
    is_gpu = x.is_cuda
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    with profile(activities=activities, acc_events=True) as trace:
        for builder in builders:
            measure(builder.network, x, y, task=builder.task)
        finish(x)
    names: Counter[str] = Counter()
    busy: Counter[str] = Counter()
    for event in trace.events() or ():
        names[event.name] += 1
        if event.device_type.name == "CUDA":
            busy[event.name] += event.self_device_time_total
    per = 1 / len(builders)
    calls = {
        key: round(per * count, 1)
        for key, count in names.items()
        if re.match("cu(da)?[A-Z]", key) and count >= len(builders)
    }
    top = {key[:90]: round(per * us / 1000, 3) for key, us in busy.most_common(14)}
    return {"kernel_ms": round(per * sum(busy.values()) / 1000, 2), "calls": calls, "top_ms": top}


def gflop(builder: Builder, x: torch.Tensor, y: torch.Tensor) -> float:
    """Floating-point operations of a pass, forward and backward."""
    network = builder.network()
    with FlopCounterMode(display=False) as counter:
        forward_backward(network.module, x, y, task=builder.task)
    return float(counter.get_total_flops()) / 1e9


def ceilings(device: str) -> dict[str, float]:
    """TFLOP/s of a float32 matrix product without TF32, and TB/s of a copy, read and write counted."""
    size = 8192 if device == "cuda" else 512
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    values = torch.randn(size * size * (8 if device == "cuda" else 1), device=device)
    copy = torch.empty_like(values)
    return {
        "tflops": round(2 * size**3 / median_seconds(lambda: torch.mm(a, b), a) / 1e12, 2),
        "copy_tbps": round(8 * values.numel() / median_seconds(lambda: copy.copy_(values), a) / 1e12, 3),
    }


def median_seconds(function: Callable[[], object], like: torch.Tensor) -> float:
    """Median of several calls, after one."""
    times = []
    for _ in range(7):
        finish(like)
        start = time.perf_counter()
        function()
        finish(like)
        times.append(time.perf_counter() - start)
    return median(times[1:])


def moved(rows: Any, expected: Any) -> dict[str, Any]:
    """Share of parameters in another bin than on the CPU, for each kind: mean and maximum over networks."""
    counts, others = (data["grad_count"].astype(np.int64) for data in (rows, expected))
    share = np.abs(counts - others).sum(["layer", "bin"]) / 2 / others.sum(["layer", "bin"])
    return {
        str(kind): {
            "mean": round(float(share.sel(kind=kind).mean()), 5),
            "max": round(float(share.sel(kind=kind).max()), 5),
        }
        for kind in share["kind"].values
    } | {"loss_rel": float(np.abs(rows["loss"] / expected["loss"] - 1).max())}


def finish(x: torch.Tensor) -> None:
    """Wait for the GPU, if the tensor is on one."""
    if x.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
