"""A benchmark that stands in for training: what a short training shows and costs, and what the whole training gives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

__all__ = ["Scores", "SearchBenchmark", "search_benchmark", "search_scores"]

_SMALLER_IS_BETTER = ("te_nas_condition", "te_nas_condition_nobn")


@dataclass(frozen=True, eq=False)
class SearchBenchmark:
    """What a search may ask for, and what it is judged by; the rows of all arrays are those of ``arch``.

    Attributes
    ----------
    arch
        Architecture strings, sorted.
    fitness
        Validation accuracy after the short training, %, shape (arch,).
    seconds
        What that training costs, shape (arch,).
    accuracy
        Accuracy after the whole training, %, dims (arch, dataset, split): what is reported of the architecture found.
    """

    arch: tuple[str, ...]
    fitness: NDArray[np.float64]
    seconds: NDArray[np.float64]
    accuracy: xr.DataArray

    def __len__(self) -> int:
        """Number of architectures."""
        return len(self.arch)

    def trained(self, dataset: str, split: str) -> NDArray[np.float64]:
        """Accuracy after the whole training, shape (arch,); raises ``ValueError`` where there is none of that name."""
        there = {key: self.accuracy[key].values.tolist() for key in ("dataset", "split")}
        if dataset not in there["dataset"] or split not in there["split"]:
            raise ValueError(
                f"no accuracies {dataset}/{split} after the whole training; there are the data sets "
                f"{', '.join(there['dataset'])} with the splits {', '.join(there['split'])}"
            )
        return self.accuracy.sel(dataset=dataset, split=split).values


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one estimator for the rows of a benchmark: greater is better.

    Attributes
    ----------
    name
        The estimator.
    values
        Shape (arch,), not NaN.
    seconds
        What scoring an architecture costs a search, shape (arch,); zeros where it is not charged.
    setup_seconds
        What is paid before the first score.
    """

    name: str
    values: NDArray[np.float64]
    seconds: NDArray[np.float64]
    setup_seconds: float = 0.0

    @property
    def charged(self) -> bool:
        """Whether scoring costs anything."""
        return bool(self.seconds.any() or self.setup_seconds)


def search_benchmark(
    table: xr.Dataset,
    *,
    fitness: str = "cifar10/valid/12",
    splits: Sequence[str] = ("valid", "test"),
    archs: Sequence[str] | None = None,
) -> SearchBenchmark:
    """Make a benchmark of a table of accuracies.

    Parameters
    ----------
    table
        As from `open_accuracies`: ``accuracy`` and ``train_seconds``, dims (arch, dataset, split, epochs).
    fitness
        What a search sees and pays for, ``dataset/split/epochs``. Cost and accuracy are those of the table; on NAS-Bench-201 the
        cost is 12 epochs on the 25,000 images of cifar10-valid.
    splits
        Splits to report, after the longest training of each data set.
    archs
        Architectures to search among [default: all of the table].

    Raises
    ------
    ValueError
        If the table has no such accuracies, or one of them or of the costs is missing for an architecture, which is named.
    """
    # Sorted, so that the same seed draws the same architectures whatever the order of the store.
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
        As from `estimator_scores`: ``score`` and ``seconds``, dims (arch, estimator).
    name
        The estimator. Condition numbers, of which the smaller is the better, are negated.
    benchmark
        As from `search_benchmark`.
    charge
        Whether a search pays for scores; the paper's do not.
    setup_seconds
        What a search pays at its start if it is charged, such as the gradients that choose the interval.
    score_seconds
        What every score costs if it is charged [default: ``seconds`` of ``scores``].

    Raises
    ------
    ValueError
        If there is no such estimator, or an architecture has no score, or no cost where it is charged; it is named.
    """
    have = [str(each) for each in scores["estimator"].values]
    if name not in have:
        raise ValueError(f"no estimator {name!r} in the profile; it has {', '.join(have)}")
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
    """Accuracy after the longest training, dims (arch, dataset, split); NaN where the whole table has none."""
    missing = [split for split in splits if split not in table["split"].values]
    if missing:
        raise ValueError(
            f"no accuracies of split {missing[0]!r}; there are {', '.join(map(str, table['split'].values))}"
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
            f"{what} is missing for {missing.size:,} of {len(names):,} architectures, the first {names[missing[0]]}, and a "
            "search may come to any of them: add it (`sweetgrad profile`, `estimate`, `accuracy import`), or only select among "
            "those that have it (`sweetgrad search --among-scored`)"
        )
