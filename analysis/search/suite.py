"""Every search and every selection of the paper, side by side."""

from collections.abc import Callable, Collection, Sequence
from functools import partial

import xarray as xr

from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark
from sweetgrad.analysis.search.bohb import bohb
from sweetgrad.analysis.search.evolution import evolution, random_search
from sweetgrad.analysis.search.reinforce import reinforce
from sweetgrad.analysis.search.results import join_histories
from sweetgrad.analysis.search.runs import SearchSettings
from sweetgrad.analysis.search.selection import select_architectures

__all__ = ["ALGORITHMS", "run_searches", "run_selections"]

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
"""Names that `run_searches` takes."""


def run_searches(
    benchmark: SearchBenchmark,
    settings: SearchSettings = SearchSettings(),  # noqa: B008
    *,
    scores: Sequence[Scores] = (),
    algorithms: Collection[str] = ALGORITHMS,
    pool: int = 10,
) -> xr.Dataset:
    """Run all algorithms; those that are assisted once for each estimator.

    Parameters
    ----------
    benchmark
        As from `search_benchmark`.
    settings
        Runs, budget and seed. Run number n of every algorithm draws from the same stream.
    scores
        As from `search_scores`; the same estimator may be there with and without its cost. Without any, assisted algorithms are
        left out.
    algorithms
        Of `ALGORITHMS`: ``random``, ``rea``, ``reinforce``, ``bohb``, and with an estimator ``s-rea``, ``s-reinforce``,
        ``s-bohb`` (the best of uniform architectures, as released), ``s-bohb-model`` (the best of the model's proposals).
    pool
        Architectures that an estimator chooses among.

    Returns
    -------
    As `join_histories`. Methods are called ``rea``, ``s-rea/sweetimator``, or ``s-rea/sweetimator+cost`` where its time is paid.

    Raises
    ------
    ValueError
        If an algorithm is unknown, ``pool`` is less than 1, or the budget is smaller than one training.
    """
    if pool < 1:
        raise ValueError(f"pool must be at least one architecture to choose among, got {pool}")
    unknown = [name for name in algorithms if name not in ALGORITHMS]
    if unknown or not algorithms:
        raise ValueError(f"expected algorithms of {', '.join(ALGORITHMS)}; got {', '.join(unknown) or 'none'}")
    searches = {name: partial(UNASSISTED[name], benchmark, settings) for name in UNASSISTED if name in algorithms}
    for each in scores:
        for name in ASSISTED:
            if name in algorithms:
                searches[f"{name}/{_label(each)}"] = partial(
                    ASSISTED[name], benchmark, settings, scores=each, pool=pool
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
        As in `run_searches`; the benchmark may hold a part of a space.
    num_archs
        Numbers of architectures to choose among.
    optimal, num_runs, seed
        As in `select_architectures`.

    Returns
    -------
    As `join_histories`, each run of one step. Methods are called ``random/1``, ``sweetimator/10``, ``optimal/10``, …
    """
    select = partial(select_architectures, benchmark, num_runs=num_runs, seed=seed)
    found = {"random/1": select(num_archs=1)}
    for num in num_archs:
        found |= {f"{each.name}/{num}": select(num_archs=num, scores=each) for each in scores}
        found[f"optimal/{num}"] = select(num_archs=num, optimal=optimal)
    attrs = {"num_runs": num_runs, "seed": seed, "optimal": optimal, "num_archs": len(benchmark)}
    return join_histories(found).assign_attrs(attrs)


def _label(scores: Scores) -> str:
    return scores.name + ("+cost" if scores.charged else "")
