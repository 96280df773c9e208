"""How stable the chosen interval is over subsets, seeds, batch sizes and data sets, and whether averaging sweetness helps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from sweetgrad.analysis.correlation import spearman_by_column
from sweetgrad.analysis.findings.choosing import (
    GRIDS,
    PAPER,
    Chooser,
    candidates,
    columns_of,
    gain_cell,
    interval_of,
    judge,
    mean_cell,
    verdict,
)
from sweetgrad.analysis.findings.profiles import Found, default_profiles, on_shared, varying
from sweetgrad.analysis.findings.prose import AGREEMENT, AVERAGING, STABILITY
from sweetgrad.analysis.markdown import markdown_table
from sweetgrad.analysis.sweetness import best_interval


def stability_section(found: Sequence[Found], results: Mapping[str, xr.Dataset], *, replicates: int) -> Iterator[str]:
    """Blocks of Markdown; ``results`` holds for every profile what `judge` says of each of `GRIDS`."""
    yield STABILITY.format(num_archs=Chooser.num_archs)
    yield choices_table(found, results, PAPER)
    yield from _agreements(found, results)
    yield from _borrowed(found, replicates=replicates)


def choices_table(found: Sequence[Found], results: Mapping[str, xr.Dataset], grid: str) -> str:
    """What is chosen from one of `GRIDS` in every profile, and how it ranks."""
    header = ["profile", "first 100", "most often", "next", "Spearman", "worst 5 %", "in hindsight"]
    return markdown_table(header, [_choices(each, results[each.name].sel(chooser=grid), grid) for each in found])


def _choices(each: Found, judged: xr.Dataset, grid: str) -> list[str]:
    order = np.argsort(-judged["share"].values, kind="stable")[:2]
    often = [f"{candidates()[i]} {float(judged['share'][i]):.0%}" for i in order]
    row = [f"`{each.name}`", str(best_interval(each.open(), GRIDS[grid], bootstrap=1).interval), *often]
    if each.selector is None:
        return [*row, "", "", ""]
    known = each.read["accuracy"].notnull().values
    columns = columns_of(grid)
    ranked = spearman_by_column(each.read["score"].values[known][:, columns], each.read["accuracy"].values[known])
    best = int(ranked.argmax())
    return [
        *row,
        mean_cell(judged["correlation"]),
        f"{float(judged['unlucky']):.3f}",
        f"{ranked[best]:.3f} {candidates()[columns[best]]}",
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
    seeds, sizes = varying(found, "seed"), varying(found, "batch_size")
    defaults = default_profiles(found)
    spaces = {
        space: [each for each in defaults if each.kin[0] == space]
        for space in dict.fromkeys(e.kin[0] for e in defaults)
    }
    groups = {
        f"seed ({len(seeds)})": seeds,
        f"batch size ({len(sizes)})": sizes,
        **{f"data set of {space} ({len(of)})": of for space, of in spaces.items()},
    }
    groups = {title: of for title, of in groups.items() if len(of) > 1}
    rows = []
    for grid in GRIDS:
        share = {each.name: results[each.name]["share"].sel(chooser=grid) for each in found}
        within = np.mean([float((share[each.name] ** 2).sum()) for each in found])
        rows.append([grid, f"{within:.0%}", *(f"{agreement(share[e.name] for e in of):.0%}" for of in groups.values())])
    yield AGREEMENT.format(num_archs=Chooser.num_archs)
    yield markdown_table(["intervals", "same profile", *(f"other {title}" for title in groups)], rows)


def _borrowed(found: Sequence[Found], *, replicates: int) -> Iterator[str]:
    """Choose on one data set, rank on another."""
    defaults = default_profiles(found)
    spaces = dict.fromkeys(each.kin[0] for each in defaults)
    for space in spaces:
        lenders = [each for each in defaults if each.kin[0] == space]
        borrowers = [each for each in lenders if each.selector is not None]
        shared = dict(zip([each.title for each in lenders], on_shared(lenders), strict=True))
        num_archs = shared[lenders[0].title].sizes["arch"]
        if len(lenders) < 2 or not borrowers or num_archs < 2 * Chooser.num_archs:
            continue
        choosers = {title: Chooser(sweetness=read["sweetness"]) for title, read in shared.items()}
        judged = [judge(shared[each.title], choosers, replicates=replicates)["correlation"] for each in borrowers]
        rows = [[lender, *(mean_cell(each.sel(chooser=lender)) for each in judged)] for lender in choosers]
        yield (
            "The interval chosen on one data set (rows), used on another (columns), Spearman, "
            f"{num_archs:,} architectures:"
        )
        yield markdown_table(["chosen on", *(f"used on {each.title}" for each in borrowers)], rows)


_OWN = "the profile itself"
_SMALL = 0.005
"""A smaller change of a rank correlation is less than that from one batch to the next."""
_TITLES = {"seed": "seeds of batch and initialisation", "batch_size": "batch sizes"}


def averaging_section(found: Sequence[Found], *, suggested: str, replicates: int) -> Iterator[str]:
    """Blocks of Markdown: for the paper's grid, and for the one that was suggested, what averaging before the choice gains."""
    yield AVERAGING.format(num_archs=Chooser.num_archs)
    for of in ("seed", "batch_size"):
        group = [each for each in varying(found, of) if each.selector is not None]
        if len(group) < 3:
            continue
        shared = on_shared(group)
        if shared[0].sizes["arch"] < 2 * Chooser.num_archs:
            continue
        by_grid = {grid: averaged(shared, grid, replicates=replicates) for grid in dict.fromkeys((PAPER, suggested))}
        paper = by_grid[PAPER].sel(chooser=_OWN)
        rows = [
            [
                str(chooser),
                *(
                    cell
                    for grid, found_in in by_grid.items()
                    for values in [found_in.sel(chooser=chooser)]
                    for cell in (
                        mean_cell(values),
                        gain_cell(values - paper) if str(chooser) != _OWN or grid != PAPER else "",
                    )
                ),
            ]
            for chooser in by_grid[PAPER]["chooser"].values
        ]
        header = ["sweetness of", *(cell for grid in by_grid for cell in (grid, "gain"))]
        values = ", ".join(str(getattr(each.info.spec, of)) for each in group)
        yield f"### Over {_TITLES[of]}\n\n{group[0].title}: {values}; {shared[0].sizes['arch']:,} architectures."
        yield markdown_table(header, rows)
        yield _verdict(by_grid, of)


def averaged(group: Sequence[xr.Dataset], grid: str, *, replicates: int) -> xr.DataArray:
    """Mean correlation over the profiles of a group, each judged in turn; dims ``(chooser, replicate)``."""
    judged = []
    for place, target in enumerate(group):
        others = [each["sweetness"] for each in (*group[place + 1 :], *group[:place])]
        mean = sum(others[1:], others[0]) / len(others)
        half = target.sizes["arch"] // 2
        several = f"the mean of {len(others)} others"
        choosers = {
            _OWN: Chooser(grid),
            "one other": Chooser(grid, others[0]),
            f"{several}, {Chooser.num_archs // len(others)} architectures of each": Chooser(
                grid, mean, Chooser.num_archs // len(others)
            ),
            f"{several}, {Chooser.num_archs} architectures of each": Chooser(grid, mean),
            f"{_OWN}, {half} architectures": Chooser(grid, num_archs=half),
        }
        judged.append(judge(target, choosers, replicates=replicates)["correlation"])
    return xr.concat(judged, "profile").mean("profile")


def _verdict(by_grid: dict[str, xr.DataArray], of: str) -> str:
    """A sentence for each grid: averaging against the profile itself, with the same grid."""
    said = []
    for grid, found in by_grid.items():
        full = next(
            str(name)
            for name in found["chooser"].values
            if str(name).endswith(f", {Chooser.num_archs} architectures of each")
        )
        gain = found.sel(chooser=full) - found.sel(chooser=_OWN)
        words = {
            "better": "chooses better",
            "worse": "chooses worse",
            "open": "makes no difference that these data show",
        }
        little = "; too little to matter" if abs(interval_of(gain)[0]) < _SMALL else ""
        said.append(
            f"* {grid}: averaging over {_TITLES[of]} {words[verdict(gain)]}, {gain_cell(gain)} over one profile{little}."
        )
    return "\n".join(said)
