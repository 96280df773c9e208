"""The page of the paper's tables beside our own, in Markdown: everything in it comes from stores and from `published`."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from sweetgrad.analysis.baselines import loss_summary, params
from sweetgrad.analysis.correlation import rank_correlation
from sweetgrad.analysis.labels import Labelled, labelled_profiles
from sweetgrad.analysis.markdown import file_names, markdown_table
from sweetgrad.analysis.reproduction.ablations import table_5
from sweetgrad.analysis.reproduction.estimators import table_1
from sweetgrad.analysis.reproduction.published import INITIAL_LOSS, TABLE_1
from sweetgrad.analysis.reproduction.search import search_section
from sweetgrad.analysis.reproduction.tables import SEED, Rankings, beside_paper, default_profile
from sweetgrad.analysis.reproduction.trained import PAPER_BATCH_SIZE, Trained, table_6
from sweetgrad.store import Location, Profile, open_accuracies, open_estimators
from sweetgrad.store.redaction import redacted

__all__ = ["reproduction_page"]

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
    trainings = Profile.open(measured.store, measured.name).trained_estimators()
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
