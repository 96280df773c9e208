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

_OTHER_SPACES = {
    "fisher": (0.302, 0.392),
    "snip": (0.191, 0.153),
    "grasp": (0.329, 0.379),
    "grad_norm": (0.265, 0.155),
    "synflow": (0.360, -0.167),
    "te_nas_nobn": (0.065, -0.055),
    "zen_score_nobn": (0.261, -0.119),
    "jacob_cov": (0.327, 0.053),
    "gradsign": (0.422, 0.424),
    "flops": (0.422, 0.423),
    "params": (0.423, 0.458),
    "sweetimator": (0.618, 0.596),
}

TABLE_1: Mapping[str, Mapping[str, Mapping[str, float]]] = _frozen(
    {
        "nas-bench-201": _frozen(
            {
                dataset: _frozen({name: figures[column] for name, figures in _NAS_BENCH_201.items()})
                for column, dataset in enumerate(("cifar10", "cifar100", "imagenet16-120"))
            }
        ),
        "nas-bench-101": _frozen({"cifar10": _frozen({name: figures[0] for name, figures in _OTHER_SPACES.items()})}),
        "darts": _frozen({"cifar10": _frozen({name: figures[1] for name, figures in _OTHER_SPACES.items()})}),
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

TABLE_2: Mapping[str, tuple[float, ...]] = _frozen(
    {
        "grad_norm": (0.227, 0.055, 0.109, -0.080, -0.116),
        "synflow": (-0.001, -0.092, -0.090, -0.191, -0.001),
        "jacob_cov": (0.480, 0.387, 0.363, 0.299, 0.208),
        "gradsign": (0.537, 0.424, 0.396, 0.290, 0.250),
        "flops": (0.500, 0.413, 0.395, 0.288, 0.238),
        "params": (0.493, 0.411, 0.387, 0.289, 0.241),
        "sweetimator": (0.568, 0.506, 0.458, 0.449, 0.360),
    }
)
"""Kendall's tau at batch 128 by estimator, on the spaces of `TABLE_2_SPACES` (Table 2)."""

TABLE_2_SPACES = ("nds-darts", "nds-enas", "nds-pnas", "nds-nasnet", "nds-amoeba")

_NONE = float("nan")

TABLE_3: Mapping[str, tuple[float, ...]] = _frozen(
    {
        "random/1": (83.20, 86.61, 60.70, 60.83, 33.34, 33.13),
        "jacob_cov/10": (89.14, 92.44, 68.50, 68.62, 41.09, 41.31),
        "sweetimator/10": (89.53, 92.75, 68.89, 69.02, 41.54, 41.71),
        "optimal/10": (89.92, 93.06, 69.61, 69.76, 43.11, 43.30),
        "synflow/100": (89.83, 93.12, 69.89, 69.94, 41.94, 42.26),
        "jacob_cov/100": (89.55, 92.91, 69.35, 69.48, 42.81, 43.10),
        "gradsign/100": (89.84, 93.31, 70.22, 70.33, 42.07, 42.42),
        "sweetimator/100": (90.47, 93.45, 70.40, 70.54, 43.49, 43.71),
        "optimal/100": (91.05, 93.84, 71.45, 71.56, 45.37, 45.67),
        "jacob_cov/1000": (89.69, 92.96, 69.98, 69.86, 44.44, 43.95),
        "sweetimator/1000": (91.00, 93.83, 71.38, 71.62, 44.68, 45.05),
        "optimal/1000": (91.34, 94.05, 72.15, 72.17, 45.57, 45.79),
        "rea": (91.08, 93.85, 71.59, 71.64, 44.90, 45.25),
        "a-rea": (91.20, _NONE, 71.95, _NONE, 45.70, _NONE),
        "g-rea": (91.25, 94.10, 72.56, 72.62, 45.62, 45.77),
        "s-rea/sweetimator": (91.43, 94.23, 72.95, 72.96, 45.98, 46.10),
        "reinforce": (90.32, 93.21, 70.03, 70.14, 43.57, 43.64),
        "g-reinforce": (90.78, 93.61, 70.88, 71.02, 44.53, 44.65),
        "s-reinforce/sweetimator": (91.01, 93.76, 71.36, 71.44, 44.76, 45.02),
        "bohb": (91.84, 93.64, 70.82, 70.92, 44.36, 44.50),
        "g-bohb": (91.18, 93.96, 71.91, 71.96, 45.32, 45.51),
        "s-bohb/sweetimator": (91.21, 93.98, 72.01, 72.06, 45.38, 45.62),
    }
)
"""Accuracy, %, of architectures selected and searched for on NAS-Bench-201: validation and test on CIFAR-10, CIFAR-100 and
ImageNet16-120 (Table 3), by the names of `run_searches` and `run_selections`. A- and G- stand for searches that other papers
assist. NaN where the paper has no figure.

The column "NASWOT" is that of `jacob_cov`, as in `TABLE_1`. The validation accuracy of BOHB on CIFAR-10 stands here as printed;
no architecture of the benchmark has one as high."""

SEARCH: Mapping[str, tuple[float, float]] = _frozen({name: (row[0], row[1]) for name, row in TABLE_3.items()})
"""CIFAR-10 validation and test accuracy of `TABLE_3`."""

TABLE_4: Mapping[str, tuple[str, ...]] = _frozen(
    {
        "DARTS (2nd order)": ("2.76 ± 0.09", "3.3", "1.0", "26.7 / 8.7", "4.7", "1.0"),
        "PC-DARTS": ("2.57 ± 0.07", "3.6", "0.1", "24.2 / 7.3", "5.3", "3.8"),
        "TE-NAS": ("2.63 ± 0.06", "3.8", "0.05", "24.5 / 7.5", "5.4", "0.17"),
        "NASI-ADA": ("2.90 ± 0.13", "3.2", "0.01", "24.8 / 7.5", "5.2", "0.01"),
        "Sweetimator": ("2.62 ± 0.05", "3.4", "0.004", "24.8 / 7.6", "5.2", "0.01"),
    }
)
"""Cells that were found in the DARTS space (Table 4): test error on CIFAR-10 in %, parameters in millions, GPU days of search;
then top-1 / top-5 error on ImageNet, parameters, GPU days."""

TABLE_6: Mapping[str, tuple[str, float]] = _frozen(
    {
        "SPOS": ("a supernet, 250 epochs at batch 256", 0.621),
        "Neural Predictor": ("a predictor", 0.646),
        "NAO": ("a predictor", 0.526),
        "TNASP": ("a predictor", 0.724),
        "sweetimator": ("nothing", KENDALL_BATCH_128),
    }
)
"""What is trained, and Kendall's tau on NAS-Bench-201, CIFAR-10 (Table 6)."""

NAS_BENCH_201_ARCHS = 15_625
"""Number of architectures behind the paper's figures for NAS-Bench-201: all."""
