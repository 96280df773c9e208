"""Spearman correlation of naswot with the accuracies of NAS-Bench-201 under the conditions of published runs.

docs/estimators.md quotes it. The first architectures in the benchmark's order, which is random. Prints a line for each condition:
its correlations on CIFAR-10, CIFAR-100 and ImageNet16-120 (accuracies on the test sets after 200 epochs), and how far each is
from that of the first condition, our own, with a 95 % interval over resamples of the architectures. 1 s an architecture.

    python tests/benchmarks/naswot_conditions.py --data-dir DIR [--archs 300]
"""

import argparse
import math
from contextlib import nullcontext

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from sweetgrad.profiling import Examples, Network, draw_batch, load_examples
from sweetgrad.profiling.blocks.noise import reinitialised
from sweetgrad.profiling.estimators.jacobian import Patterns, record_patterns
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.store.benchmarks.shipped import shipped_table
from sweetgrad.store.spaces.cells import EDGES, parse_arch

DATASETS = ("cifar10_test", "cifar100_test", "in16_test")
VALIDATION = ("cifar10_valid", "cifar100_valid", "in16_valid")
SEED, OWN_SEEDS = 42, 100_000


def kernel(network: Network, x: Tensor) -> NDArray[np.float64]:
    """Number of units in which each pair of images agrees, over every ReLU, those of dead paths included."""
    with torch.no_grad(), record_patterns(network, Patterns()) as patterns:
        network.module(x)
    return torch.stack([agreements for _, _, agreements, _ in patterns.calls]).double().sum(0).numpy()


def log_det(matrix: NDArray[np.float64]) -> float:
    sign, value = np.linalg.slogdet(matrix)
    return float(value) if sign else -math.inf


def noise(size: int, seed: int) -> Tensor:
    return torch.randn((64, 3, size, size), generator=torch.Generator().manual_seed(seed))


def real(images: Examples, seed: int, *, augment: bool = False) -> Tensor:
    return torch.from_numpy(draw_batch(images, batch_size=64, seed=seed, augment=augment).x)


def scores_of(space: NasBench201, index: int, images: Examples) -> dict[str, float]:
    """Score of an architecture under each condition."""
    own = OWN_SEEDS + index
    conditions = {
        "ours: PyTorch's initialisation, one batch of CIFAR-10": (SEED, False, real(images, SEED)),
        "He's initialisation": (SEED, True, real(images, SEED)),
        "He's initialisation, N(0, 1) images": (SEED, True, noise(32, SEED)),
        "the same, weights and images of its own for each architecture": (own, True, noise(32, own)),
        "the same, 16 x 16 pixels": (own, True, noise(16, own)),
        "PyTorch's initialisation, weights and augmented CIFAR-10 images of its own": (
            own,
            False,
            real(images, own, augment=True),
        ),
    }
    scores = {}
    for name, (seed, he, x) in conditions.items():
        torch.manual_seed(seed)
        network = space.build(space.arch_id(index))
        with reinitialised(network.module, seed) if he else nullcontext():
            matrix = kernel(network, x)
        scores[name] = log_det(matrix)
        if len(scores) == 1:
            scores["the first 32 of the 64 images"] = log_det(matrix[:32, :32])
    return scores


def is_cut_off(arch: str) -> bool:
    """Whether all edges from the input, or all edges to the output, are ``none``; NAS-Bench-Suite-Zero draws none of these."""
    operations = dict(zip(EDGES, parse_arch(arch), strict=True))
    return any({operations[edge] for edge in EDGES if edge[end] == node} == {"none"} for end, node in ((0, 0), (1, 3)))


def correlations(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson correlation of each row of one array with that of the other."""
    a, b = (ranks - ranks.mean(1, keepdims=True) for ranks in (a, b))
    return np.asarray((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--archs", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = shipped_table("nas-bench-201")
    space, images = NasBench201(table, skip_dead=False), load_examples("cifar10", data_dir=arguments.data_dir)
    rows = range(arguments.archs)
    scores = pd.DataFrame([scores_of(space, index, images) for index in rows])
    accuracies = (
        pd.read_csv(table).set_index("arch_str").loc[[space.arch_id(index) for index in rows], [*DATASETS, *VALIDATION]]
    )
    random = np.random.RandomState(0)
    resamples = np.stack([np.arange(len(rows)), *random.randint(0, len(rows), (1000, len(rows)))])
    drawn = {name: rankdata(column.to_numpy()[resamples], axis=1) for name, column in scores.items()}
    ours = next(iter(drawn.values()))
    for name, ranks in drawn.items():
        texts = []
        for dataset in DATASETS:
            accuracy = rankdata(accuracies[dataset].to_numpy()[resamples], axis=1)
            rho = correlations(ranks, accuracy)
            difference = rho - correlations(ours, accuracy)
            low, high = np.quantile(difference[1:], [0.025, 0.975])
            texts.append(f"{rho[0]:.3f} ({difference[0]:+.3f}, {low:+.3f} to {high:+.3f})")
        print(f"{name}: {'  '.join(texts)}")
    drawn_by_suite_zero = np.array([not is_cut_off(arch) for arch in accuracies.index])
    of_drawn = [
        spearmanr(scores[name].rank()[drawn_by_suite_zero], accuracies[dataset].to_numpy()[drawn_by_suite_zero])[0]
        for dataset in VALIDATION
    ]
    print(f"that, with validation accuracies, {drawn_by_suite_zero.sum()} architectures: {np.round(of_drawn, 3)}")


if __name__ == "__main__":
    main()
