"""The page of the paper's tables beside our own, in Markdown: everything in it comes from stores and from `published`."""

import math
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import xarray as xr

from sweetgrad.analysis.comparison import estimator_scores
from sweetgrad.analysis.correlation import rank_correlation
from sweetgrad.analysis.counts import measured_rows
from sweetgrad.analysis.estimators import loss_summary, params
from sweetgrad.analysis.intervals import Interval
from sweetgrad.analysis.labels import Labelled, labelled_profiles
from sweetgrad.analysis.markdown import file_names, markdown_table
from sweetgrad.analysis.published import INITIAL_LOSS, NAS_BENCH_201_ARCHS, SEARCH, TABLE_1
from sweetgrad.analysis.reproduction.estimators import PAPER_BATCH_SIZE, Trained, table_1, table_6
from sweetgrad.analysis.reproduction.ranking import SEED, Rankings, beside_paper, default_profile, difference, table_5
from sweetgrad.analysis.search import run_searches, run_selections, search_inputs, search_table
from sweetgrad.store import Location, open_accuracies, open_estimators
from sweetgrad.store.estimators import open_trainings
from sweetgrad.store.redaction import redacted

_INTRODUCTION = """# Reproduction

What sweetgrad measured, beside what the paper reports (Yang et al. 2023). `sweetgrad reproduce` writes this page from stores;
nothing in it is typed. Brackets hold 95 % bootstrap intervals over architectures. A difference is *inside* when the paper's
figure lies in ours, and **outside** otherwise. The best interval is the one that sweetness chooses from the first 100
architectures, without any accuracy. No setting was tuned towards the paper: the definition decides."""


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
    measured = [each for each in labelled_profiles(stores) if each.selector and each.info.status.num_ok > 1]
    if not measured:
        raise ValueError(
            "expected a profile with trained accuracies of its data set, and there is none in "
            f"{', '.join(map(redacted, stores))}: `sweetgrad accuracy import STORE --space SPACE --from FILE` adds some"
        )
    rank = Rankings(bootstrap=bootstrap)
    blocks = [
        _INTRODUCTION,
        f"```console\n$ sweetgrad reproduce {file_names(stores)} --out reproduction.md\n```",
        _summary(measured, rank, bootstrap=bootstrap),
    ]
    for space in dict.fromkeys(each.info.spec.space for each in measured):
        blocks += _space([each for each in measured if each.info.spec.space == space], rank, bootstrap=bootstrap)
    return "\n\n".join([*blocks, _profiles(measured)]) + "\n"


def _summary(measured: list[Labelled], rank: Rankings, *, bootstrap: int) -> str:
    """Sweet Gradient and the number of parameters, of every space and data set."""
    rows = []
    for kin in dict.fromkeys(each.kin for each in measured):
        chosen = default_profile([each for each in measured if each.kin == kin])
        profile, accuracy = chosen.with_accuracy()
        published = TABLE_1.get(kin[0], {}).get(kin[1], {})
        sweet = rank(chosen).correlation
        parameters = rank_correlation(params(profile), accuracy, bootstrap=bootstrap)
        rows.append(
            [
                chosen.title,
                *beside_paper(sweet, published.get("sweetimator")),
                *beside_paper(parameters, published.get("params")),
                f"{sweet.num_archs:,}",
            ]
        )
    header = ["", "Sweet Gradient", "paper", "difference", "Parameters", "paper", "difference", "archs"]
    return f"Spearman correlation with accuracy after training:\n\n{markdown_table(header, rows)}"


def _space(measured: list[Labelled], rank: Rankings, *, bootstrap: int) -> Iterator[str]:
    space = measured[0].info.spec.space
    yield f"## {measured[0].space_title}"
    datasets = dict.fromkeys(each.dataset for each in measured)
    for dataset in sorted(datasets, key=lambda name: name not in TABLE_1.get(space, {})):
        of_dataset = [each for each in measured if each.dataset == dataset]
        yield from table_1(default_profile(of_dataset), rank, bootstrap=bootstrap)
        if space == "nas-bench-201":
            yield from table_5(of_dataset, rank)
            yield from _table_6(of_dataset, bootstrap=bootstrap)
    if space == "nas-bench-201":
        yield from _initial_loss(measured)
        yield from _searches([each for each in measured if each.dataset == "cifar10"])


def _table_6(measured: list[Labelled], *, bootstrap: int) -> Iterator[str]:
    dataset = measured[0].dataset
    trained = list(chain.from_iterable(_trained(each) for each in measured))
    of_batch = [each for each in measured if each.info.spec.batch_size == PAPER_BATCH_SIZE]
    of_batch = [each for each in of_batch if each.info.spec.seed == SEED]
    if dataset == "cifar10" or of_batch or trained:
        chosen = default_profile(of_batch or measured)
        yield from table_6(
            *chosen.with_accuracy(),
            title=chosen.dataset_title,
            batch_size=chosen.info.spec.batch_size,
            is_paper=dataset == "cifar10",
            trained=trained,
            bootstrap=bootstrap,
        )


def _trained(measured: Labelled) -> Iterator[Trained]:
    trainings = open_trainings(measured.store, measured.name)
    stored = open_estimators(measured.store, measured.name)["score"] if trainings else None
    for name, training in trainings.items():
        assert stored is not None
        scores = stored.sel(estimator=name, drop=True)
        if int(scores.notnull().sum()) > 1:
            yield Trained(name, scores, training)


def _initial_loss(measured: list[Labelled]) -> Iterator[str]:
    rows = []
    for dataset in dict.fromkeys(each.dataset for each in measured):
        each = default_profile([other for other in measured if other.dataset == dataset])
        found = loss_summary(each.open())
        paper = INITIAL_LOSS.get(each.dataset)
        rows.append(
            [
                each.dataset_title,
                f"{found.mean:.3f} ± {found.sd:.3f}",
                f"{paper[0]:.3f} ± {paper[1]:.3f}" if paper else "",
                f"{found.num_archs:,}",
            ]
        )
    yield "### Appendix A: initial loss"
    yield markdown_table(["data set", "mean ± standard deviation, nats", "paper", "archs"], rows)


def _searches(measured: list[Labelled]) -> Iterator[str]:
    if measured:
        default = default_profile(measured)
        stored = open_estimators(default.store, default.name)
        yield from search_section(default.open(), stored, open_accuracies(default.store, default.info.spec.space))


def _profiles(measured: list[Labelled]) -> str:
    runs = [each.info.runs[-1] if each.info.runs else {} for each in measured]
    machines = [f"{run.get('device_name', '?')}, torch {run.get('torch', '?')}" for run in runs]
    is_one = len(set(machines)) == 1
    rows = []
    for each, run, machine in zip(measured, runs, machines, strict=True):
        seconds = float(np.nanmedian(each.open()["profile_seconds"].to_numpy()))
        rows.append(
            [
                f"`{each.name}`",
                f"{each.info.status.num_ok:,}",
                str(run.get("data_source", "")),
                f"`{each.info.spec.batch_sha256[:8]}`",
                f"`{each.info.content_digest[:8]}`" if each.info.content_digest else "run not ended",
                f"{seconds:.2f}",
                "" if is_one else machine,
            ]
        )
    header = ["profile", "archs", "images", "batch SHA-256", "content digest", "s/arch", "machine"]
    all_on = f"All on {machines[0]}; *s/arch* is the median.\n\n" if is_one else ""
    return f"## What was measured\n\n{all_on}{markdown_table(header, rows)}"


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
