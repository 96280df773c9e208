"""The page of the paper's tables beside our own: everything in it comes from stores and from `published`."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sweetgrad.analysis.comparison import estimator_scores
from sweetgrad.analysis.correlation import rank_correlation
from sweetgrad.analysis.counts import measured_rows
from sweetgrad.analysis.estimators import loss_summary, params
from sweetgrad.analysis.intervals import Interval
from sweetgrad.analysis.labels import LabelledProfile, labelled_profiles
from sweetgrad.analysis.published import (
    INITIAL_LOSS,
    NAS_BENCH_201_ARCHS,
    SEARCH,
    TABLE_1,
    TABLE_2,
    TABLE_2_SPACES,
    TABLE_3,
    TABLE_4,
    TABLE_6,
)
from sweetgrad.analysis.reproduction.estimators import PAPER_BATCH_SIZE, table_1, table_6
from sweetgrad.analysis.reproduction.ranking import Rankings, beside_paper, default_profile, difference, table_5
from sweetgrad.analysis.search import run_searches, run_selections, search_inputs, search_table
from sweetgrad.store import Location, open_accuracies, open_estimators
from sweetgrad.store.pages import quoted, render
from sweetgrad.store.redaction import redacted

_FITNESS = {"dataset": "cifar10", "split": "valid", "epochs": 12}
_OURS = "sweetimator"
_NUM_ARCHS = (10, 100, 1000)


def reproduction_page(stores: Iterable[Location], *, bootstrap: int = 1000) -> str:
    """Write the page of all tables that the profiles of some stores can answer.

    Parameters
    ----------
    stores
        Paths or URLs. A profile counts whose space has an accuracy for the profile's data set.
    bootstrap
        Resamples behind every interval.

    Returns
    -------
    Markdown.

    Raises
    ------
    ValueError
        If no profile has an accuracy to be compared with.
    """
    stores = list(stores)
    profiles = [profile for profile in labelled_profiles(stores) if profile.selector and profile.info.status.num_ok > 1]
    if not profiles:
        raise ValueError(
            "expected a profile with trained accuracies of its data set, and there is none in "
            f"{', '.join(map(redacted, stores))}: `sweetgrad accuracy import STORE --space SPACE --from FILE` adds some"
        )
    rank = Rankings(bootstrap=bootstrap)
    by_space: dict[str, list[LabelledProfile]] = {}
    for profile in profiles:
        by_space.setdefault(profile.info.spec.space, []).append(profile)
    return render(
        Path(__file__).with_name("page.md.j2"),
        stores=quoted(stores),
        summary=_summary_rows(profiles, rank, bootstrap=bootstrap),
        spaces=[_space(of_space, rank, bootstrap=bootstrap) for of_space in by_space.values()],
        paper_batch_size=PAPER_BATCH_SIZE,
        paper_archs=NAS_BENCH_201_ARCHS,
        nds_spaces=list(TABLE_2_SPACES),
        quoted=_quoted(),
        **_measured(profiles),
    )


def _quoted() -> dict[str, list[list[str]]]:
    """Rows of the tables that are printed as the paper has them."""
    return {
        "nds": [[name, *(f"{tau:.3f}" for tau in row)] for name, row in TABLE_2.items()],
        "search": [
            [name, *("" if math.isnan(accuracy) else f"{accuracy:.2f}" for accuracy in row)]
            for name, row in TABLE_3.items()
        ],
        "cells": [[name, *row] for name, row in TABLE_4.items()],
        "trained": [[name, trains, f"{tau:.3f}"] for name, (trains, tau) in TABLE_6.items()],
    }


def _summary_rows(profiles: Sequence[LabelledProfile], rank: Rankings, *, bootstrap: int) -> list[list[str]]:
    """Sweetimator and the number of parameters, for every space and data set."""
    rows = []
    for task in dict.fromkeys(profile.task for profile in profiles):
        default = default_profile([profile for profile in profiles if profile.task == task])
        profile, accuracy = default.with_accuracy()
        published = TABLE_1.get(task[0], {}).get(task[1], {})
        sweet = rank(default).correlation
        parameters = rank_correlation(params(profile), accuracy, bootstrap=bootstrap)
        rows.append(
            [
                default.title,
                *beside_paper(sweet, published.get("sweetimator")),
                *beside_paper(parameters, published.get("params")),
                f"{sweet.num_archs:,}",
            ]
        )
    return rows


def _space(profiles: Sequence[LabelledProfile], rank: Rankings, *, bootstrap: int) -> dict[str, Any]:
    """What the template shows of a search space: first the data sets that the paper has."""
    space = profiles[0].info.spec.space
    is_nas_bench_201 = space == "nas-bench-201"
    by_dataset: dict[str, list[LabelledProfile]] = {}
    for profile in profiles:
        by_dataset.setdefault(profile.dataset, []).append(profile)
    datasets = [
        {
            "table_1": table_1(default_profile(of_dataset), rank, bootstrap=bootstrap),
            "ablations": list(table_5(of_dataset, rank)) if is_nas_bench_201 else [],
            "table_6": table_6(of_dataset, bootstrap=bootstrap) if is_nas_bench_201 else None,
        }
        for _, of_dataset in sorted(by_dataset.items(), key=lambda item: item[0] not in TABLE_1.get(space, {}))
    ]
    return {
        "title": profiles[0].space_title,
        "datasets": datasets,
        "initial_loss": _initial_loss_rows(by_dataset.values()) if is_nas_bench_201 else [],
        "search": _search(by_dataset["cifar10"]) if is_nas_bench_201 and "cifar10" in by_dataset else None,
    }


def _initial_loss_rows(by_dataset: Iterable[Sequence[LabelledProfile]]) -> list[list[str]]:
    rows = []
    for profiles in by_dataset:
        default = default_profile(profiles)
        loss = loss_summary(default.open())
        paper = INITIAL_LOSS.get(default.dataset)
        rows.append(
            [
                default.dataset_title,
                f"{loss.mean:.3f} ± {loss.sd:.3f}",
                f"{paper[0]:.3f} ± {paper[1]:.3f}" if paper else "",
                f"{loss.num_archs:,}",
            ]
        )
    return rows


def _measured(profiles: Sequence[LabelledProfile]) -> dict[str, Any]:
    """Rows of the profiles, and the machine if all were measured on one."""
    runs = [profile.info.runs[-1] if profile.info.runs else {} for profile in profiles]
    machines = [f"{run.get('device_name', '?')}, torch {run.get('torch', '?')}" for run in runs]
    is_one = len(set(machines)) == 1
    rows = [
        [
            f"`{profile.name}`",
            f"{profile.info.status.num_ok:,}",
            str(run.get("data_source", "")),
            f"`{profile.info.spec.batch_sha256[:8]}`",
            f"`{profile.info.content_digest[:8]}`" if profile.info.content_digest else "run not ended",
            f"{float(np.nanmedian(profile.open()['profile_seconds'].to_numpy())):.2f}",
            "" if is_one else machine,
        ]
        for profile, run, machine in zip(profiles, runs, machines, strict=True)
    ]
    return {"measured": rows, "machine": machines[0] if is_one else None}


@dataclass(frozen=True)
class SearchTables:
    """The paper's selections and searches on NAS-Bench-201 beside ours (Table 3).

    Attributes
    ----------
    num_scored, is_whole
        Architectures with a score, and whether these are all.
    selection, search
        Header and rows of the tables, and the attributes of the runs.
    """

    num_scored: int
    is_whole: bool
    selection: dict[str, Any]
    search: dict[str, Any]


def _search(profiles: Sequence[LabelledProfile]) -> SearchTables | None:
    default = default_profile(profiles)
    stored = open_estimators(default.store, default.name)
    return search_tables(default.open(), stored, open_accuracies(default.store, default.info.spec.space))


def search_tables(profile: xr.Dataset, stored: xr.Dataset, accuracies: xr.Dataset) -> SearchTables | None:
    """Run the selections and searches that a profile on CIFAR-10 can answer.

    Parameters
    ----------
    profile, stored
        As returned by `open_profile` and `open_estimators`.
    accuracies
        As returned by `open_accuracies`.

    Returns
    -------
    None without the 12-epoch accuracies of all architectures.
    """
    if not _has_whole_benchmark(accuracies):
        return None
    num_scored = len(measured_rows(profile))
    is_whole = num_scored == NAS_BENCH_201_ARCHS
    names = _complete_estimators(profile, stored)
    inputs = search_inputs(profile, stored, accuracies, estimators=names, among_scored=not is_whole)
    sizes = [size for size in _NUM_ARCHS if size <= len(inputs.benchmark) // 10]
    selections = run_selections(inputs.benchmark, scores=inputs.charged, num_archs=sizes)
    selection_table = search_table(selections, inputs.benchmark, published=SEARCH)
    if not is_whole:
        inputs = search_inputs(profile, stored, accuracies, estimators=())
    scores = [scores for scores in (*inputs.free, *inputs.charged) if scores.name == _OURS]
    searches = run_searches(inputs.benchmark, scores=scores)
    table = search_table(searches, inputs.benchmark, published=SEARCH)
    return SearchTables(
        num_scored=num_scored,
        is_whole=is_whole,
        selection={**selections.attrs, **_search_rows(selection_table, selections.sizes["run"], "s to score")},
        search={**searches.attrs, **_search_rows(table, searches.sizes["run"], "s spent")},
    )


def _has_whole_benchmark(accuracies: xr.Dataset) -> bool:
    accuracy = accuracies["accuracy"]
    if any(value not in accuracy[dim].values for dim, value in _FITNESS.items()):
        return False
    return int(accuracy.sel(_FITNESS).notnull().sum()) == NAS_BENCH_201_ARCHS


def _complete_estimators(profile: xr.Dataset, stored: xr.Dataset) -> list[str]:
    """Estimators that have a score wherever Sweetimator has one, which comes first."""
    scores = estimator_scores(profile, stored, Interval.live())["score"]
    missing = (scores.isnull() & scores.sel(estimator=_OURS).notnull()).any("arch")
    return [str(name) for name in scores["estimator"].values[~missing.values]]


def _search_rows(table: xr.Dataset, num_runs: int, seconds: str) -> dict[str, list[Any]]:
    """Header and rows, one for each algorithm: mean and standard deviation of every accuracy, and the paper's for CIFAR-10."""
    columns = [(dataset, split) for dataset in table["dataset"].values for split in table["split"].values]
    has_paper = {dataset: dataset == _FITNESS["dataset"] for dataset in table["dataset"].values}
    trains = bool(table["num_trained"].max() > 1)
    header = [""]
    for dataset, split in columns:
        header += [f"{dataset} {split}", *(["paper", "difference"] if has_paper[dataset] else [])]
    rows = []
    for name in map(str, table["algorithm"].values):
        algorithm = table.sel(algorithm=name)
        row = [name]
        for dataset, split in columns:
            accuracy = algorithm.sel(dataset=dataset, split=split)
            mean, sd, paper = (float(accuracy[statistic]) for statistic in ("mean", "sd", "published"))
            row.append(f"{mean:.2f} ± {sd:.2f}")
            if has_paper[dataset]:
                margin = 1.96 * sd * math.sqrt(2 / num_runs)
                apart = difference(mean, mean - margin, mean + margin, paper)
                row += ["", ""] if math.isnan(paper) else [f"{paper:.2f}", apart]
        row += [f"{float(algorithm['num_trained']):.1f}"] if trains else []
        rows.append([*row, f"{float(algorithm['seconds']):,.0f}"])
    return {"header": [*header, *(["trained"] if trains else []), seconds], "rows": rows}
