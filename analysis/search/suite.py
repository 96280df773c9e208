"""All searches and selections of the paper, the accuracies of the architectures that they find, and the best so far over time."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark
from sweetgrad.analysis.search.bohb import bohb
from sweetgrad.analysis.search.evolution import evolution, random_search
from sweetgrad.analysis.search.reinforce import reinforce
from sweetgrad.analysis.search.simulation import Draws, SearchSettings

_Search = Callable[[SearchBenchmark, SearchSettings], xr.Dataset]

UNASSISTED: dict[str, _Search] = {
    "random": random_search,
    "rea": evolution,
    "reinforce": reinforce,
    "bohb": bohb,
}
ASSISTED: dict[str, Callable[..., xr.Dataset]] = {
    "s-rea": evolution,
    "s-reinforce": reinforce,
    "s-bohb": bohb,
    "s-bohb-model": partial(bohb, propose="model"),
}
ALGORITHMS = (*UNASSISTED, *ASSISTED)
"""Names of the algorithms of `run_searches`."""


def run_searches(
    benchmark: SearchBenchmark,
    settings: SearchSettings = SearchSettings(),  # noqa: B008
    *,
    scores: Sequence[Scores] = (),
    algorithms: Collection[str] = ALGORITHMS,
    pool: int = 10,
) -> xr.Dataset:
    """Run all algorithms; assisted ones are run once for each estimator.

    Parameters
    ----------
    benchmark
        As returned by `search_benchmark`.
    settings
        Runs, budget and seed. Run number n of every algorithm draws from the same stream.
    scores
        As returned by `search_scores`; an estimator may occur both with and without its cost. Without scores, assisted
        algorithms are omitted.
    algorithms
        Names in `ALGORITHMS`: ``random``, ``rea``, ``reinforce``, ``bohb``, and with an estimator ``s-rea``, ``s-reinforce``,
        ``s-bohb`` (the best of uniform architectures, as released), ``s-bohb-model`` (the best of the model's proposals).
    pool
        Number of architectures from which an estimator selects one.

    Returns
    -------
    As `join_histories`. Methods are called ``rea``, ``s-rea/sweetimator``, or ``s-rea/sweetimator+cost`` if its time is charged.

    Raises
    ------
    ValueError
        If an algorithm is unknown, ``pool`` is less than 1, or the budget is smaller than one training.
    """
    if pool < 1:
        raise ValueError(f"pool must be at least 1, got {pool}")
    unknown = [name for name in algorithms if name not in ALGORITHMS]
    if unknown or not algorithms:
        raise ValueError(f"expected algorithms among {', '.join(ALGORITHMS)}; got {', '.join(unknown) or 'none'}")
    searches = {name: partial(UNASSISTED[name], benchmark, settings) for name in UNASSISTED if name in algorithms}
    for estimator in scores:
        for name in ASSISTED:
            if name in algorithms:
                searches[f"{name}/{_label(estimator)}"] = partial(
                    ASSISTED[name], benchmark, settings, scores=estimator, pool=pool
                )
    if not searches:
        raise ValueError(f"{', '.join(algorithms)} need the scores of an estimator; got none")
    attrs = {"num_runs": settings.num_runs, "budget_s": settings.budget, "seed": settings.seed, "pool": pool}
    return join_histories({name: search() for name, search in searches.items()}).assign_attrs(attrs)


def run_selections(
    benchmark: SearchBenchmark,
    *,
    scores: Sequence[Scores] = (),
    num_archs: Sequence[int] = (10, 100, 1000),
    optimal: str = "cifar10/test",
    num_runs: int = 500,
    seed: int = 0,
) -> xr.Dataset:
    """Select architectures by every estimator, at random, and by accuracy itself.

    Parameters
    ----------
    benchmark, scores
        As in `run_searches`; the benchmark may cover a part of a space.
    num_archs
        Numbers of architectures from which one is selected.
    optimal, num_runs, seed
        As in `select_architectures`.

    Returns
    -------
    As `join_histories`, with one step in each run. Methods are called ``random/1``, ``sweetimator/10``, ``optimal/10``, …
    """
    select = partial(select_architectures, benchmark, num_runs=num_runs, seed=seed)
    histories = {"random/1": select(num_archs=1)}
    for num in num_archs:
        histories |= {f"{estimator.name}/{num}": select(num_archs=num, scores=estimator) for estimator in scores}
        histories[f"optimal/{num}"] = select(num_archs=num, optimal=optimal)
    attrs = {"num_runs": num_runs, "seed": seed, "optimal": optimal, "num_archs": len(benchmark)}
    return join_histories(histories).assign_attrs(attrs)


def _label(scores: Scores) -> str:
    return scores.name + ("+cost" if scores.charged else "")


def select_architectures(
    benchmark: SearchBenchmark,
    *,
    num_archs: int,
    scores: Scores | None = None,
    optimal: str | None = None,
    num_runs: int = 500,
    seed: int = 0,
) -> xr.Dataset:
    """Draw architectures with replacement, and select the best by score or by accuracy, or the first if neither is given.

    Parameters
    ----------
    benchmark
        As returned by `search_benchmark`; it need not cover a whole space.
    num_archs
        Number of architectures that each run draws. A smaller number draws the first ones of a larger number.
    scores
        As returned by `search_scores`.
    optimal
        ``dataset/split``, such as ``cifar10/test``, whose accuracy after the full training selects the best: an upper bound for
        every estimator.
    num_runs, seed
        As in `SearchSettings`.

    Returns
    -------
    Dims (run, step) with one step, as in `Runs.history`; ``seconds`` is the cost of scoring.

    Raises
    ------
    ValueError
        If ``num_archs`` is less than 1, there is no accuracy ``optimal``, or both ``scores`` and ``optimal`` are given.
    """
    if num_archs < 1:
        raise ValueError(f"num_archs must be at least 1, got {num_archs}")
    if scores is not None and optimal is not None:
        raise ValueError("give either scores or optimal, not both")
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


def join_histories(histories: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Join the histories of several methods into one data set.

    Parameters
    ----------
    histories
        Histories by name of the method, as returned by `Runs.history`, with the same number of runs.

    Returns
    -------
    ``arch_index`` and ``seconds``, dims (algorithm, run, step); missing steps are -1 and NaN.
    """
    longest = max(history.sizes["step"] for history in histories.values())
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
    """Accuracies of the architecture that each method reports, the one with the best fitness that it trained.

    Parameters
    ----------
    histories
        As returned by `join_histories`, or `run_searches`.
    benchmark
        The benchmark that was searched.
    published
        Published CIFAR-10 validation and test accuracies by method, such as ``SEARCH``, for comparison.

    Returns
    -------
    ``mean`` and ``sd`` (n - 1) over runs, in %, and ``published``, NaN if there is none; dims (algorithm, dataset, split).
    ``num_trained``, the mean number of trainings of a run, and ``seconds``, the mean simulated time at the end of the last one;
    dims (algorithm,).
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
    """Accuracy of the architecture that a run would report if it ended at a given time: median and quartiles over the runs.

    Parameters
    ----------
    histories, benchmark
        As in `search_table`.
    dataset, split
        Selects the accuracy after the full training.
    times
        Simulated seconds [default: 200 equal steps to the end of the last training].

    Returns
    -------
    ``median``, ``lower`` and ``upper`` quartile, in %, dims (algorithm, time); NaN until all runs have finished a training.
    """
    accuracy = benchmark.trained(dataset, split)
    best, seconds = (
        _best_so_far(histories, benchmark),
        histories["seconds"].transpose("algorithm", "run", "step").values,
    )
    at = np.linspace(0, np.nanmax(seconds), 201)[1:] if times is None else np.asarray(times, dtype=np.float64)
    ended = np.where(np.isnan(seconds), np.inf, seconds)
    # Index of the last training that has ended by each time.
    place = np.array([[np.searchsorted(run, at, side="right") - 1 for run in method] for method in ended])
    values = np.where(place >= 0, accuracy[np.take_along_axis(best, np.maximum(place, 0), axis=2)], np.nan)
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75], axis=1)
    data = {
        name: (("algorithm", "time"), value) for name, value in (("median", median), ("lower", lower), ("upper", upper))
    }
    attrs = {"dataset": dataset, "split": split, "num_runs": histories.sizes["run"]}
    return xr.Dataset(data, {"algorithm": histories["algorithm"].values, "time": at}, attrs=attrs)
