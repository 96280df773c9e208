"""What searches found: the architecture reported, its accuracies, and the best so far at every simulated time."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.search.benchmark import SearchBenchmark

__all__ = ["join_histories", "search_table", "trajectories"]


def join_histories(histories: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Put the histories of several methods into one data set.

    Parameters
    ----------
    histories
        By the name of the method; as from `Runs.history`, of equally many runs.

    Returns
    -------
    ``arch_index`` and ``seconds``, dims (algorithm, run, step); steps that a method has not are -1 and NaN.
    """
    longest = max(each.sizes["step"] for each in histories.values())
    padded = [
        each.pad(step=(0, longest - each.sizes["step"]), constant_values={"arch_index": -1, "seconds": np.nan})
        for each in histories.values()
    ]
    joined: xr.Dataset = xr.concat(padded, xr.Variable("algorithm", np.array(list(histories), dtype=object)))
    return joined


def _best_so_far(histories: xr.Dataset, benchmark: SearchBenchmark) -> NDArray[np.int64]:
    """Row of the architecture with the greatest fitness up to each step, the first on a tie; shape (algorithm, run, step)."""
    rows = histories["arch_index"].transpose("algorithm", "run", "step").values
    fitness = np.where(rows >= 0, benchmark.fitness[rows], -np.inf)
    record = np.maximum.accumulate(fitness, axis=2)
    is_new = np.concatenate([np.ones_like(rows[:, :, :1], dtype=bool), record[:, :, 1:] > record[:, :, :-1]], axis=2)
    step = np.maximum.accumulate(np.where(is_new, np.arange(rows.shape[2]), 0), axis=2)
    return np.take_along_axis(rows, step, axis=2)


def search_table(
    histories: xr.Dataset,
    benchmark: SearchBenchmark,
    *,
    published: Mapping[str, tuple[float, float]] | None = None,
) -> xr.Dataset:
    """Accuracies of what each method reports: the architecture with the best fitness that it trained.

    Parameters
    ----------
    histories
        As from `join_histories`, or `run_searches`.
    benchmark
        The same that was searched.
    published
        CIFAR-10 validation and test accuracy by method, such as ``SEARCH``, to stand beside.

    Returns
    -------
    ``mean`` and ``sd`` (n - 1) over runs, in %, and ``published``, NaN where nothing is; dims (algorithm, dataset, split).
    ``num_trained``, the mean number of trainings of a run, and ``seconds``, the mean simulated time at the end of its last; dims
    (algorithm,).
    """
    final = _best_so_far(histories, benchmark)[:, :, -1]
    accuracy = benchmark.accuracy.transpose("arch", "dataset", "split")
    values = accuracy.values[final]
    shape = (final.shape[0], *values.shape[2:])
    beside = np.full(shape, np.nan)
    coords = {
        "algorithm": histories["algorithm"].values,
        "dataset": accuracy["dataset"].values,
        "split": accuracy["split"].values,
    }
    table = xr.Dataset(
        {
            "mean": (("algorithm", "dataset", "split"), values.mean(axis=1)),
            "sd": (
                ("algorithm", "dataset", "split"),
                values.std(axis=1, ddof=1) if values.shape[1] > 1 else beside.copy(),
            ),
            "published": (("algorithm", "dataset", "split"), beside),
            "num_trained": ("algorithm", (histories["arch_index"] >= 0).sum("step").mean("run").values),
            "seconds": ("algorithm", histories["seconds"].max("step").mean("run").values),
        },
        coords=coords,
    )
    for method, figures in (published or {}).items():
        if method in table["algorithm"].values and "cifar10" in table["dataset"].values:
            for split, figure in zip(("valid", "test"), figures, strict=True):
                if split in table["split"].values:
                    table["published"].loc[{"algorithm": method, "dataset": "cifar10", "split": split}] = figure
    return table


def trajectories(
    histories: xr.Dataset,
    benchmark: SearchBenchmark,
    *,
    dataset: str = "cifar10",
    split: str = "test",
    times: Sequence[float] | NDArray[np.float64] | None = None,
) -> xr.Dataset:
    """Accuracy of what a run would report if it ended at a time: median and quartiles over runs.

    Parameters
    ----------
    histories, benchmark
        As in `search_table`.
    dataset, split
        Accuracy after the whole training to follow.
    times
        Simulated seconds [default: 200 equal steps to the end of the last training].

    Returns
    -------
    ``median``, ``lower`` and ``upper`` quartile, in %, dims (algorithm, time); NaN while a run has not ended its first training.
    """
    accuracy = benchmark.trained(dataset, split)
    best, seconds = (
        _best_so_far(histories, benchmark),
        histories["seconds"].transpose("algorithm", "run", "step").values,
    )
    at = np.linspace(0, np.nanmax(seconds), 201)[1:] if times is None else np.asarray(times, dtype=np.float64)
    ended = np.where(np.isnan(seconds), np.inf, seconds)
    # Trainings that have ended by each time, less one: the place of the last.
    place = np.array([[np.searchsorted(run, at, side="right") - 1 for run in method] for method in ended])
    values = np.where(place >= 0, accuracy[np.take_along_axis(best, np.maximum(place, 0), axis=2)], np.nan)
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75], axis=1)
    data = {
        name: (("algorithm", "time"), value) for name, value in (("median", median), ("lower", lower), ("upper", upper))
    }
    attrs = {"dataset": dataset, "split": split, "num_runs": histories.sizes["run"]}
    return xr.Dataset(data, {"algorithm": histories["algorithm"].values, "time": at}, attrs=attrs)
