"""Published figures of derived estimators, in the form of the registry."""

from collections.abc import Sequence

import numpy as np

from sweetgrad.analysis.estimators.registry import Figure

_DATASETS = ("cifar10", "cifar100", "imagenet16-120")


def nas_bench_201(
    *,
    spearman: Sequence[float] = (np.nan,) * 3,
    kendall: Sequence[float] = (np.nan,) * 3,
    population: str = "all 15,625",
    source: str = "",
) -> dict[tuple[str, str], Figure]:
    """Figures on CIFAR-10, CIFAR-100 and ImageNet16-120."""
    figures = zip(_DATASETS, spearman, kendall, strict=True)
    return {("nas-bench-201", dataset): Figure(rho, tau, population, source) for dataset, rho, tau in figures}


def suite_zero(*spearman: float) -> dict[tuple[str, str], Figure]:
    """Figures of NAS-Bench-Suite-Zero, whose code correlates with validation accuracies.

    It draws no architecture in which all edges from the input or all edges to the output are ``none``.
    """
    population = "1,000 random, validation accuracy"
    return nas_bench_201(spearman=spearman, population=population, source="NAS-Bench-Suite-Zero")
