"""The paper's selections and searches on NAS-Bench-201 beside ours: a part of the page."""

import math
from collections.abc import Iterator

import xarray as xr

from sweetgrad.analysis.comparison import estimator_scores
from sweetgrad.analysis.intervals import Interval
from sweetgrad.analysis.markdown import markdown_table
from sweetgrad.analysis.reproduction.published import NAS_BENCH_201_ARCHS, SEARCH
from sweetgrad.analysis.reproduction.tables import difference
from sweetgrad.analysis.rows import measured_rows
from sweetgrad.analysis.search import run_searches, run_selections, search_inputs, search_table

__all__ = ["search_section"]

_FITNESS = {"dataset": "cifar10", "split": "valid", "epochs": 12}
_OURS = "sweetimator"
_NUM_ARCHS = (10, 100, 1000)

_SELECTION = """Of N architectures drawn uniformly, with replacement, the one with the best score is reported by its accuracies
after 200 epochs: mean and standard deviation over {num_runs} runs, seed {seed}, among {num_archs:,} architectures. *Optimal*
takes the best CIFAR-10 test accuracy. A difference is *inside* when it is less than 1.96 standard errors of a difference of two
such means."""

_PARTIAL = """Only {scored:,} of the {all:,} architectures have a score yet. So the selection is among them, for N up to a tenth
of them; and the assisted searches, which may come to any architecture, are not here."""

_SEARCHES = """A run trains architectures for 12 epochs on the 25,000 images of cifar10-valid until {budget_s:,.0f} simulated
seconds are spent, and reports the one with the best validation accuracy then by its accuracies after 200 epochs. *+cost* pays for
every score, and for the choice of the interval, as well; the paper does not."""

_REMARKS = """What may move these figures: a training that does not end within the budget does not count here, and in the released
searches the last one is ended. Accuracies and costs are means over the benchmark's seeds, without the time of the validation; the
released searches draw one seed, and pay for it. BOHB's kernels stay densities here
([how to search](how-to/search.md#how-it-is-done) says what that moves); its validation accuracy in the paper, 91.84, is above
that of every architecture in the table, and so a misprint."""


def search_section(profile: xr.Dataset, stored: xr.Dataset, accuracies: xr.Dataset) -> Iterator[str]:
    """Write the selections and searches that a profile on CIFAR-10 can answer; nothing without the 12-epoch accuracies of all.

    Parameters
    ----------
    profile, stored
        As from `open_profile` and `open_estimators`.
    accuracies
        As from `open_accuracies`.

    Returns
    -------
    Blocks of Markdown.
    """
    if not _has_whole_benchmark(accuracies):
        return
    measured = len(measured_rows(profile))
    is_whole = measured == NAS_BENCH_201_ARCHS
    names = _complete_estimators(profile, stored)
    inputs = search_inputs(profile, stored, accuracies, estimators=names, among_scored=not is_whole)
    yield "### Architecture selection"
    most = len(inputs.benchmark) // 10
    selected = run_selections(
        inputs.benchmark, scores=inputs.charged, num_archs=[num for num in _NUM_ARCHS if num <= most]
    )
    yield _SELECTION.format(**selected.attrs)
    if not is_whole:
        yield _PARTIAL.format(scored=measured, all=NAS_BENCH_201_ARCHS)
    yield _rows(search_table(selected, inputs.benchmark, published=SEARCH), selected.sizes["run"], "s to score")

    yield "### Architecture search"
    if not is_whole:
        inputs = search_inputs(profile, stored, accuracies, estimators=())
    scores = [each for each in (*inputs.free, *inputs.charged) if each.name == _OURS]
    searched = run_searches(inputs.benchmark, scores=scores)
    yield _SEARCHES.format(**searched.attrs)
    yield _rows(search_table(searched, inputs.benchmark, published=SEARCH), searched.sizes["run"], "s spent")
    yield _REMARKS


def _has_whole_benchmark(accuracies: xr.Dataset) -> bool:
    there = accuracies["accuracy"]
    if any(value not in there[key].values for key, value in _FITNESS.items()):
        return False
    return int(there.sel(_FITNESS).notnull().sum()) == NAS_BENCH_201_ARCHS


def _complete_estimators(profile: xr.Dataset, stored: xr.Dataset) -> list[str]:
    """Estimators that have a score wherever Sweetimator has one, which comes first."""
    scores = estimator_scores(profile, stored, Interval.live())["score"]
    missing = (scores.isnull() & scores.sel(estimator=_OURS).notnull()).any("arch")
    return [str(name) for name in scores["estimator"].values[~missing.values]]


def _rows(found: xr.Dataset, num_runs: int, seconds: str) -> str:
    pairs = [(dataset, split) for dataset in found["dataset"].values for split in found["split"].values]
    lines = []
    for name in map(str, found["algorithm"].values):
        one = found.sel(algorithm=name)
        cells = []
        for dataset, split in pairs:
            mean, sd, paper = (float(one[key].sel(dataset=dataset, split=split)) for key in ("mean", "sd", "published"))
            cells.append(f"{mean:.2f} ± {sd:.2f}")
            if dataset == _FITNESS["dataset"]:
                margin = 1.96 * sd * math.sqrt(2 / num_runs)
                known = not math.isnan(paper)
                cells += [f"{paper:.2f}", difference(mean, mean - margin, mean + margin, paper)] if known else ["", ""]
        cells += [f"{float(one['num_trained']):.1f}"] if found["num_trained"].max() > 1 else []
        cells.append(f"{float(one['seconds']):,.0f}")
        lines.append([name, *cells])
    columns = [
        column
        for dataset, split in pairs
        for column in (f"{dataset} {split}", *(["paper", "difference"] if dataset == _FITNESS["dataset"] else []))
    ]
    trained = ["trained"] if found["num_trained"].max() > 1 else []
    return markdown_table(["", *columns, *trained, seconds], lines)
