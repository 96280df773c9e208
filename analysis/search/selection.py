"""Architecture selection: of N architectures drawn uniformly, report the one with the best score."""

import numpy as np
import xarray as xr

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark
from sweetgrad.analysis.search.draws import Draws

__all__ = ["select_architectures"]


def select_architectures(
    benchmark: SearchBenchmark,
    *,
    num_archs: int,
    scores: Scores | None = None,
    optimal: str | None = None,
    num_runs: int = 500,
    seed: int = 0,
) -> xr.Dataset:
    """Draw architectures with replacement, and take the best by an estimator, by its accuracy, or none: the first.

    Parameters
    ----------
    benchmark
        As from `search_benchmark`; it need not hold a whole space.
    num_archs
        Architectures that each run draws. Those of a smaller number are the first of those of a larger one.
    scores
        As from `search_scores`.
    optimal
        ``dataset/split``, such as ``cifar10/test``, by whose accuracy after the whole training the best is taken: what no
        estimator can exceed.
    num_runs, seed
        As in `SearchSettings`.

    Returns
    -------
    Dims (run, step) with one step, as `Runs.history`: ``seconds`` is what scoring cost.

    Raises
    ------
    ValueError
        If ``num_archs`` is less than 1, there is no accuracy ``optimal``, or both ``scores`` and ``optimal`` are given.
    """
    if num_archs < 1:
        raise ValueError(f"expected at least one architecture to choose among, got {num_archs}")
    if scores is not None and optimal is not None:
        raise ValueError("architectures are chosen by scores or by accuracy, not by both")
    drawn = Draws(seed, num_runs).integers(num_archs, len(benchmark))
    seconds, chosen = np.zeros(num_runs), np.zeros(num_runs, dtype=np.int64)
    if scores is not None:
        chosen = scores.values[drawn].argmax(axis=1)
        seconds = scores.setup_seconds + scores.seconds[drawn].sum(axis=1)
    elif optimal is not None:
        dataset, _, split = optimal.partition("/")
        chosen = benchmark.trained(dataset, split)[drawn].argmax(axis=1)
    rows = drawn[np.arange(num_runs), chosen].astype(np.int32)
    return xr.Dataset({"arch_index": (("run", "step"), rows[:, None]), "seconds": (("run", "step"), seconds[:, None])})
