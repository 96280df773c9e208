"""From a profile, its estimators and a table of accuracies to what a search needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from sweetgrad.analysis.comparison import WITHOUT_PASS, estimator_scores
from sweetgrad.analysis.intervals import Interval, IntervalGrid
from sweetgrad.analysis.rows import measured_rows
from sweetgrad.analysis.search.benchmark import Scores, SearchBenchmark, search_benchmark, search_scores
from sweetgrad.analysis.sweetness import best_interval

__all__ = ["SearchInputs", "search_inputs"]

_INTERVAL_ARCHS = 100


@dataclass(frozen=True, eq=False)
class SearchInputs:
    """A benchmark, and for each estimator its scores: for nothing, as in the paper, and at their own cost."""

    benchmark: SearchBenchmark
    free: tuple[Scores, ...] = ()
    charged: tuple[Scores, ...] = ()


def search_inputs(
    profile: xr.Dataset,
    stored: xr.Dataset,
    table: xr.Dataset,
    *,
    estimators: Sequence[str] = ("sweetimator",),
    interval: Interval | None = None,
    grid: IntervalGrid = IntervalGrid(),  # noqa: B008  (frozen)
    fitness: str = "cifar10/valid/12",
    score_seconds: float | None = None,
    among_scored: bool = False,
) -> SearchInputs:
    """Gather what a search needs, and refuse it if anything is missing.

    Parameters
    ----------
    profile, stored
        As from `open_profile` and `open_estimators`.
    table
        As from `open_accuracies`, with the same architectures.
    estimators
        Names as in `estimator_scores`.
    interval
        Of sweetimator [default: the best of ``grid``, chosen by the first 100 architectures]. What it cost to measure those is
        the ``setup_seconds`` of the charged scores; an interval that is given cost nothing.
    fitness
        As in `search_benchmark`.
    score_seconds
        What every charged score costs [default: what the profile says, as below].
    among_scored
        Take only the architectures that have every score and every accuracy, which is enough for `run_selections`.

    Returns
    -------
    `SearchInputs`. The cost of a score is the wall time of the machine that measured it. Of what the histogram holds it is
    ``profile_seconds``, in which the calls of estimators are not contained.

    Raises
    ------
    ValueError
        As in `search_benchmark` and `search_scores`; or if no architecture has all.
    """
    setup, scores = 0.0, None
    if interval is None and "sweetimator" in estimators:
        interval = best_interval(profile, grid, num_archs=_INTERVAL_ARCHS, bootstrap=1).interval
        first = measured_rows(profile)[:_INTERVAL_ARCHS]
        seconds = profile["profile_seconds"].values[first]
        setup = float(seconds.sum()) if score_seconds is None else score_seconds * len(first)
    if estimators:
        scores = estimator_scores(profile, stored, interval or Interval.live())
        # A search pays for what was done to get a score: counts of parameters that came with the pass cost the pass.
        scores["seconds"] = scores["seconds"].fillna(
            profile["profile_seconds"].where(scores["estimator"].isin(WITHOUT_PASS))
        )
    archs = _complete(table, scores, estimators) if among_scored else None
    benchmark = search_benchmark(table, fitness=fitness, archs=archs)
    if scores is None:
        return SearchInputs(benchmark)
    free = tuple(search_scores(scores, name, benchmark) for name in estimators)
    charged = tuple(
        search_scores(
            scores,
            name,
            benchmark,
            charge=True,
            setup_seconds=setup if name == "sweetimator" else 0.0,
            score_seconds=score_seconds,
        )
        for name in estimators
    )
    return SearchInputs(benchmark, free, charged)


def _complete(table: xr.Dataset, scores: xr.Dataset | None, estimators: Sequence[str]) -> list[str]:
    """Architectures that have every accuracy that any has, and every score."""
    accuracy = table["accuracy"]
    there = accuracy.notnull() | ~accuracy.notnull().any("arch")
    complete = there.all(["dataset", "split", "epochs"])
    if scores is not None:
        names = [name for name in estimators if name in scores["estimator"].values]
        have = scores.sel(estimator=names).notnull().all("estimator")
        complete = complete & (have["score"] & have["seconds"]).reindex(arch=table["arch"].values, fill_value=False)
    archs = [str(arch) for arch in table["arch"].values[complete.values]]
    if not archs:
        raise ValueError(
            f"no architecture has every accuracy and a score of {', '.join(estimators)}: profile some first"
        )
    return archs
