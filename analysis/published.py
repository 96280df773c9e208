"""Figures published in the paper (Yang et al. 2023), each with its table."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

Value = TypeVar("Value")


def _frozen(table: dict[str, Value]) -> Mapping[str, Value]:
    return MappingProxyType(table)


_NAS_BENCH_201 = {
    "fisher": (0.546, 0.548, 0.491),
    "snip": (0.638, 0.637, 0.578),
    "grasp": (0.551, 0.549, 0.553),
    "grad_norm": (0.637, 0.637, 0.578),
    "synflow": (0.777, 0.763, 0.751),
    "te_nas_nobn": (0.376, 0.350, 0.335),
    "zen_score_nobn": (0.251, 0.260, 0.319),
    "jacob_cov": (0.691, 0.704, 0.700),
    "gradsign": (0.808, 0.792, 0.783),
    "flops": (0.733, 0.708, 0.673),
    "params": (0.751, 0.727, 0.690),
    "sweetimator": (0.888, 0.859, 0.835),
}

TABLE_1: Mapping[str, Mapping[str, Mapping[str, float]]] = _frozen(
    {
        "nas-bench-201": _frozen(
            {
                dataset: _frozen({name: figures[column] for name, figures in _NAS_BENCH_201.items()})
                for column, dataset in enumerate(("cifar10", "cifar100", "imagenet16-120"))
            }
        ),
        "nas-bench-101": _frozen({"cifar10": _frozen({"params": 0.423, "sweetimator": 0.618})}),
        "darts": _frozen({"cifar10": _frozen({"params": 0.458, "sweetimator": 0.596})}),
    }
)
"""Spearman correlation with test accuracy by search space, data set and estimator (Table 1, where the
DARTS space is called NAS-Bench-301).

The column "NASWOT" stands beside `jacob_cov`: the released code computes NASWOT's first version, and has no log-determinant
kernel (`naswot`)."""

BATCH_SIZES: Mapping[int, float] = MappingProxyType({64: 0.888, 128: 0.908, 256: 0.917, 512: 0.921})
"""Spearman correlation of Sweetimator on NAS-Bench-201, CIFAR-10, by batch size (Table 5)."""

SPLITS: Mapping[int, float] = MappingProxyType({2: 0.888, 3: 0.913, 4: 0.910, 5: 0.913})
"""The same by the number of intervals a decade is split into, at batch 64 (Table 5)."""

KENDALL_BATCH_128 = 0.736
"""Kendall's tau of Sweetimator on NAS-Bench-201, CIFAR-10, at batch 128 (Table 6)."""

INITIAL_LOSS: Mapping[str, tuple[float, float]] = _frozen(
    {"cifar10": (2.343, 0.043), "cifar100": (4.651, 0.042), "imagenet16-120": (4.842, 0.047)}
)
"""Mean and standard deviation of the initial loss over NAS-Bench-201, by data set (Appendix A)."""

SEARCH: Mapping[str, tuple[float, float]] = _frozen(
    {
        "random/1": (83.20, 86.61),
        "sweetimator/10": (89.53, 92.75),
        "sweetimator/100": (90.47, 93.45),
        "sweetimator/1000": (91.00, 93.83),
        "optimal/10": (89.92, 93.06),
        "optimal/100": (91.05, 93.84),
        "optimal/1000": (91.34, 94.05),
        "rea": (91.08, 93.85),
        "s-rea/sweetimator": (91.43, 94.23),
        "reinforce": (90.32, 93.21),
        "s-reinforce/sweetimator": (91.01, 93.76),
        "bohb": (91.84, 93.64),
        "s-bohb/sweetimator": (91.21, 93.98),
    }
)
"""CIFAR-10 validation and test accuracy, %, of architectures selected and searched for on NAS-Bench-201, by the names of
`run_searches` and `run_selections`.

The validation accuracy of BOHB stands here as printed; it is above that of the best of 1,000 architectures."""

NAS_BENCH_201_ARCHS = 15_625
"""Number of architectures behind the paper's figures for NAS-Bench-201: all."""
