"""A benchmark instead of training: result and cost of a short training, accuracy after the full one, and scores of estimators."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.analysis.best_interval import best_interval
from sweetgrad.analysis.comparison import WITHOUT_PASS, estimator_scores
from sweetgrad.analysis.counts import measured_rows
from sweetgrad.analysis.intervals import Interval, IntervalGrid

_SMALLER_IS_BETTER = ("te_nas_condition", "te_nas_condition_nobn")


@dataclass(frozen=True, eq=False)
class SearchBenchmark:
    """Values that a search observes, and by which it is evaluated; all arrays have the rows of ``arch``.

    Attributes
    ----------
    arch
        Architecture strings, sorted.
    fitness
        Validation accuracy after the short training, %, shape (arch,).
    seconds
        Cost of that training, shape (arch,).
    accuracy
        Accuracy after the full training, %, dims (arch, dataset, split), which is reported for the architecture found.
    """

    arch: tuple[str, ...]
    fitness: NDArray[np.float64]
    seconds: NDArray[np.float64]
    accuracy: xr.DataArray

    def __len__(self) -> int:
        """Number of architectures."""
        return len(self.arch)

    def trained(self, dataset: str, split: str) -> NDArray[np.float64]:
        """Accuracy after the full training, shape (arch,); raises ``ValueError`` if there is none of that name."""
        there = {key: self.accuracy[key].values.tolist() for key in ("dataset", "split")}
        if dataset not in there["dataset"] or split not in there["split"]:
            raise ValueError(
                f"no accuracies {dataset}/{split} after the full training; available data sets: "
                f"{', '.join(there['dataset'])}; splits: {', '.join(there['split'])}"
            )
        return self.accuracy.sel(dataset=dataset, split=split).values


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one estimator for the rows of a benchmark: greater is better.

    Attributes
    ----------
    name
        Name of the estimator.
    values
        Scores, shape (arch,), without NaN.
    seconds
        Cost of scoring an architecture in a search, shape (arch,); zeros if it is not charged.
    setup_seconds
        Cost before the first score.
    """

    name: str
    values: NDArray[np.float64]
    seconds: NDArray[np.float64]
    setup_seconds: float = 0.0

    @property
    def charged(self) -> bool:
        """Whether scoring is charged."""
        return bool(self.seconds.any() or self.setup_seconds)


def search_benchmark(
    table: xr.Dataset,
    *,
    fitness: str = "cifar10/valid/12",
    splits: Sequence[str] = ("valid", "test"),
    archs: Sequence[str] | None = None,
) -> SearchBenchmark:
    """Create a benchmark from a table of accuracies.

    Parameters
    ----------
    table
        As returned by `open_accuracies`: ``accuracy`` and ``train_seconds``, dims (arch, dataset, split, epochs).
    fitness
        Accuracy that a search observes and whose training it is charged for, ``dataset/split/epochs``. Cost and accuracy are
        those of the table; on NAS-Bench-201, the cost is 12 epochs on the 25,000 images of cifar10-valid.
    splits
        Splits to report, after the longest training of each data set.
    archs
        Architectures to search among [default: all of the table].

    Raises
    ------
    ValueError
        If the table has no such accuracies, or an accuracy or cost is missing for an architecture, which the message names.
    """
    # Sorted, so that the same seed draws the same architectures regardless of their order in the store.
    table = (table if archs is None else table.reindex(arch=list(archs))).sortby("arch")
    dataset, split, epochs = _parse(fitness, table)
    short = table.sel(dataset=dataset, split=split, epochs=epochs)
    names = [str(arch) for arch in table["arch"].values]
    values, seconds = short["accuracy"].values, short["train_seconds"].values
    _require(values, names, f"accuracy {fitness}")
    _require(seconds, names, f"train_seconds of {fitness}")
    if (seconds <= 0).any():
        raise ValueError(
            f"training {names[int(seconds.argmin())]} costs {seconds.min()} s in the table; expected more than 0"
        )
    return SearchBenchmark(tuple(names), values, seconds, _reported(table, splits, names))


def search_scores(
    scores: xr.Dataset,
    name: str,
    benchmark: SearchBenchmark,
    *,
    charge: bool = False,
    setup_seconds: float = 0.0,
    score_seconds: float | None = None,
) -> Scores:
    """Scores of one estimator in the order of a benchmark.

    Parameters
    ----------
    scores
        As returned by `estimator_scores`: ``score`` and ``seconds``, dims (arch, estimator).
    name
        Name of the estimator. Condition numbers are negated, because smaller is better.
    benchmark
        As returned by `search_benchmark`.
    charge
        Whether scores are charged to a search; in the paper, they are not.
    setup_seconds
        Cost at the start of a charged search, such as that of the gradients from which the interval is chosen.
    score_seconds
        Cost of every charged score [default: ``seconds`` of ``scores``].

    Raises
    ------
    ValueError
        If there is no such estimator, or an architecture, which the message names, has no score or no cost that is charged.
    """
    estimators = [str(estimator) for estimator in scores["estimator"].values]
    if name not in estimators:
        raise ValueError(f"no estimator {name!r} in the profile; it has {', '.join(estimators)}")
    place = pd.Index(scores["arch"].values).get_indexer(pd.Index(benchmark.arch))
    one = scores.sel(estimator=name)
    values, seconds = (np.where(place >= 0, one[key].values[place], np.nan) for key in ("score", "seconds"))
    _require(values, benchmark.arch, f"score of {name}")
    if score_seconds is not None:
        if not score_seconds >= 0:
            raise ValueError(f"score_seconds must be 0 or more, got {score_seconds}")
        seconds = np.full(len(benchmark), score_seconds)
    if charge:
        _require(seconds, benchmark.arch, f"cost of {name}")
    return Scores(
        name,
        -values if name in _SMALLER_IS_BETTER else values,
        seconds if charge else np.zeros(len(benchmark)),
        setup_seconds if charge else 0.0,
    )


def _parse(selector: str, table: xr.Dataset) -> tuple[str, str, int]:
    dataset, split, epochs = [*selector.split("/"), "", ""][:3]
    there = {"dataset": dataset, "split": split, "epochs": int(epochs) if epochs.isdigit() else -1}
    if selector.count("/") != 2 or any(value not in table[key].values for key, value in there.items()):
        have = "; ".join(f"{key} {', '.join(map(str, table[key].values))}" for key in there)
        raise ValueError(f"expected DATASET/SPLIT/EPOCHS of the table ({have}), got {selector!r}")
    return dataset, split, int(epochs)


def _reported(table: xr.Dataset, splits: Sequence[str], names: Sequence[str]) -> xr.DataArray:
    """Accuracy after the longest training, dims (arch, dataset, split); NaN if the table has none for any architecture."""
    missing = [split for split in splits if split not in table["split"].values]
    if missing:
        raise ValueError(
            f"no accuracies of split {missing[0]!r}; available: {', '.join(map(str, table['split'].values))}"
        )
    parts = []
    for dataset in table["dataset"].values:
        accuracy = table["accuracy"].sel(dataset=dataset, split=list(splits))
        trained = accuracy["epochs"].values[accuracy.notnull().any(["arch", "split"]).values]
        if not trained.size:
            continue
        longest = accuracy.sel(epochs=trained.max(), drop=True)
        for split in splits:
            values = longest.sel(split=split).values
            if not np.isnan(values).all():
                _require(values, names, f"accuracy {dataset}/{split}/{trained.max()}")
        parts.append(longest)
    if not parts:
        raise ValueError("the table has no accuracy for any of these architectures")
    return xr.concat(parts, "dataset").transpose("arch", "dataset", "split")


def _require(values: NDArray[np.float64], names: Sequence[str], what: str) -> None:
    missing = np.flatnonzero(np.isnan(values))
    if missing.size:
        raise ValueError(
            f"{what} is missing for {missing.size:,} of {len(names):,} architectures, the first {names[missing[0]]}, but a "
            "search may reach any of them: add it (`sweetgrad profile`, `estimate`, `accuracy import`), or only select among the "
            "others (`sweetgrad search --among-scored`)"
        )


_INTERVAL_ARCHS = 100


@dataclass(frozen=True, eq=False)
class SearchInputs:
    """A benchmark, and the scores of each estimator: free of charge, as in the paper, and at their own cost."""

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
    """Collect the inputs of a search; raises if anything is missing.

    Parameters
    ----------
    profile, stored
        As returned by `open_profile` and `open_estimators`.
    table
        As returned by `open_accuracies`, with the same architectures.
    estimators
        Names as in `estimator_scores`.
    interval
        Interval of sweetimator [default: the best of ``grid``, chosen from the first 100 architectures]. The cost of measuring
        these is the ``setup_seconds`` of the charged scores; a given interval has no cost.
    fitness
        As in `search_benchmark`.
    score_seconds
        Cost of every charged score [default: that in the profile, see below].
    among_scored
        Whether to use only architectures with all scores and accuracies, which is enough for `run_selections`.

    Returns
    -------
    `SearchInputs`. The cost of a score is the wall time of the machine that measured it. For scores from the histogram it is
    ``profile_seconds``, which does not include the calls of estimators.

    Raises
    ------
    ValueError
        As for `search_benchmark` and `search_scores`, or if no architecture has all scores and accuracies.
    """
    setup, scores = 0.0, None
    if interval is None and "sweetimator" in estimators:
        interval = best_interval(profile, grid, num_archs=_INTERVAL_ARCHS, bootstrap=1).interval
        first = measured_rows(profile)[:_INTERVAL_ARCHS]
        seconds = profile["profile_seconds"].values[first]
        setup = float(seconds.sum()) if score_seconds is None else score_seconds * len(first)
    if estimators:
        scores = estimator_scores(profile, stored, interval or Interval.live())
        # A search is charged for everything that a score needs: parameter counts from the pass cost the whole pass.
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
    """Architectures with all scores, and with every accuracy that any architecture has."""
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
