"""How stable the chosen interval is: over subsets of architectures, seeds, batch sizes and data sets, and what it costs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from sweetgrad.analysis.findings.choosing import GRIDS, PAPER, Chooser, candidates, judge
from sweetgrad.analysis.findings.reading import Found, default_profiles, varying
from sweetgrad.analysis.findings.tables import with_interval
from sweetgrad.analysis.intervals import IntervalGrid
from sweetgrad.analysis.reproduction.tables import markdown_table
from sweetgrad.analysis.correlation import correlation_by_interval
from sweetgrad.analysis.sweetness import best_interval

__all__ = ["agreement", "stability_section"]


def stability_section(found: Sequence[Found], results: Mapping[str, xr.Dataset], *, replicates: int) -> Iterator[str]:
    """Blocks of Markdown; ``results`` holds for every profile what `judge` says of each of `GRIDS`."""
    yield (
        "## How stable the chosen interval is\n\n"
        "The paper's rule: what the first 100 architectures choose, what random subsets of 100 choose most often, how what they "
        "choose ranks on the other half, and what the interval of split 2 that ranks best would reach, which nobody can know "
        "without accuracies."
    )
    yield markdown_table(
        ["profile", "first 100", "most often", "next", "Spearman", "worst 5 %", "in hindsight"],
        [_choices(each, results[each.name]) for each in found],
    )
    yield from _agreements(found, results)
    yield from _borrowed(found, replicates=replicates)


def _choices(each: Found, result: xr.Dataset) -> list[str]:
    judged = result.sel(chooser=PAPER)
    order = np.argsort(-judged["share"].values, kind="stable")[:2]
    often = [f"{candidates()[i]} {float(judged['share'][i]):.0%}" for i in order]
    profile = each.open()
    first = str(best_interval(profile, bootstrap=1).interval)
    if each.accuracy is None:
        return [f"`{each.name}`", first, *often, "", "", ""]
    by_interval = correlation_by_interval(profile, each.accuracy, IntervalGrid())
    best = int(by_interval.argmax().values)
    return [
        f"`{each.name}`",
        first,
        *often,
        with_interval(judged["correlation"]),
        f"{float(judged['unlucky']):.3f}",
        f"{float(by_interval[best]):.3f} {by_interval['interval'].values[best]}",
    ]


def agreement(shares: Iterable[xr.DataArray]) -> float:
    """Probability that two choices from different profiles are the same interval; dims of each share ``(interval,)``.

    Examples
    --------
    >>> agreement([xr.DataArray([1.0, 0.0], dims="interval"), xr.DataArray([0.25, 0.75], dims="interval")])
    0.25
    """
    found = np.array([share.values for share in shares])
    same = found @ found.T
    return float(same[np.triu_indices(len(found), 1)].mean())


def _agreements(found: Sequence[Found], results: Mapping[str, xr.Dataset]) -> Iterator[str]:
    largest = varying(found, "seed")
    defaults = default_profiles(found)
    spaces = {space: [each for each in defaults if each.kin[0] == space] for space in dict.fromkeys(e.kin[0] for e in defaults)}
    groups = {
        f"seed ({len(largest)})": largest,
        f"batch size ({len(varying(found, 'batch_size'))})": varying(found, "batch_size"),
        **{f"data set of {space} ({len(of)})": of for space, of in spaces.items()},
    }
    groups = {title: of for title, of in groups.items() if len(of) > 1}
    rows = []
    for grid in GRIDS:
        share = {each.name: results[each.name]["share"].sel(chooser=grid) for each in found}
        within = np.mean([float((share[each.name] ** 2).sum()) for each in found])
        rows.append([grid, f"{within:.0%}", *(f"{agreement(share[e.name] for e in of):.0%}" for of in groups.values())])
    yield (
        "How often two subsets of 100 architectures choose the very same interval: two of one profile, and two of profiles that "
        "differ in one thing. Sliding windows overlap, so that their choices differ often and by little."
    )
    yield markdown_table(["intervals", "same profile", *(f"other {title}" for title in groups)], rows)


def _borrowed(found: Sequence[Found], *, replicates: int) -> Iterator[str]:
    """Choose on one data set, rank on another."""
    defaults = default_profiles(found)
    spaces = dict.fromkeys(each.kin[0] for each in defaults)
    for space in spaces:
        lenders = [each for each in defaults if each.kin[0] == space]
        borrowers = [each for each in lenders if each.selector is not None]
        if len(lenders) < 2 or lenders[0].shared.sizes["arch"] < 2 * Chooser.num_archs:
            continue
        choosers = {each.title: Chooser(sweetness=each.shared["sweetness"]) for each in lenders}
        judged = [judge(each.shared, choosers, replicates=replicates)["correlation"] for each in borrowers]
        rows = [[lender, *(with_interval(each.sel(chooser=lender)) for each in judged)] for lender in choosers]
        yield (
            "The interval chosen on one data set (rows), used on another (columns), Spearman, "
            f"{lenders[0].shared.sizes['arch']:,} architectures:"
        )
        yield markdown_table(["chosen on", *(f"used on {each.title}" for each in borrowers)], rows)
