"""How stable the chosen interval is over subsets, seeds, batch sizes and data sets, and whether averaging sweetness helps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from sweetgrad.analysis.best_interval import best_interval
from sweetgrad.analysis.correlation import spearman_by_column
from sweetgrad.analysis.findings.choosing import (
    GRIDS,
    PAPER,
    Chooser,
    Verdict,
    candidates,
    columns_of,
    gain_cell,
    judge,
    mean_cell,
    mean_ci,
    verdict,
)
from sweetgrad.analysis.findings.profiles import SampledProfile, align, default_profiles, varying

_OWN = "the profile itself"
_SMALL = 0.005
"""A smaller change of a rank correlation is less than that from one batch to the next."""


def choice_rows(profiles: Sequence[SampledProfile], results: Mapping[str, xr.Dataset], grid: str) -> list[list[str]]:
    """What is chosen from one of `GRIDS` in every profile, and how it ranks.

    Parameters
    ----------
    profiles, results
        Profiles, and by their names what `judge` returned for each of `GRIDS`.
    grid
        Name in `GRIDS`.

    Returns
    -------
    Cells: profile; the choice of the first 100 architectures; the two most frequent choices; Spearman, its worst 5 %, and that of
    the best interval in hindsight.
    """
    return [_choice_row(profile, results[profile.name].sel(chooser=grid), grid) for profile in profiles]


def _choice_row(profile: SampledProfile, judged: xr.Dataset, grid: str) -> list[str]:
    most_frequent = np.argsort(-judged["win_rate"].values, kind="stable")[:2]
    row = [
        f"`{profile.name}`",
        str(best_interval(profile.open(), GRIDS[grid], bootstrap=1).interval),
        *(f"{candidates()[i]} {float(judged['win_rate'][i]):.0%}" for i in most_frequent),
    ]
    if profile.selector is None:
        return [*row, "", "", ""]
    has_accuracy = profile.sample["accuracy"].notnull().values
    columns = columns_of(grid)
    scores, accuracy = (profile.sample[name].values[has_accuracy] for name in ("score", "accuracy"))
    correlation = spearman_by_column(scores[:, columns], accuracy)
    best = int(correlation.argmax())
    return [
        *row,
        mean_cell(judged["correlation"]),
        f"{float(judged['unlucky']):.3f}",
        f"{correlation[best]:.3f} {candidates()[columns[best]]}",
    ]


def agreement(win_rates: Iterable[xr.DataArray]) -> float:
    """Probability that two choices from different profiles are the same interval; dims of each win rate ``(interval,)``.

    Examples
    --------
    >>> agreement([xr.DataArray([1.0, 0.0], dims="interval"), xr.DataArray([0.25, 0.75], dims="interval")])
    0.25
    """
    rates = np.array([win_rate.values for win_rate in win_rates])
    same = rates @ rates.T
    return float(same[np.triu_indices(len(rates), 1)].mean())


def agreement_table(
    profiles: Sequence[SampledProfile], results: Mapping[str, xr.Dataset]
) -> tuple[list[str], list[list[str]]]:
    """How often two subsets choose the same interval, for each of `GRIDS`.

    Returns
    -------
    Names of the groups of profiles that differ in one thing; and cells: grid, two subsets of one profile, two of each group.
    """
    seeds, sizes = varying(profiles, "seed"), varying(profiles, "batch_size")
    by_space: dict[str, list[SampledProfile]] = {}
    for profile in default_profiles(profiles):
        by_space.setdefault(profile.task[0], []).append(profile)
    groups = {
        f"other seed ({len(seeds)})": seeds,
        f"other batch size ({len(sizes)})": sizes,
        **{f"other data set of {space} ({len(of_space)})": of_space for space, of_space in by_space.items()},
    }
    groups = {name: group for name, group in groups.items() if len(group) > 1}
    rows = []
    for grid in GRIDS:
        win_rate = {profile.name: results[profile.name]["win_rate"].sel(chooser=grid) for profile in profiles}
        within = np.mean([float((rate**2).sum()) for rate in win_rate.values()])
        between = [agreement(win_rate[profile.name] for profile in group) for group in groups.values()]
        rows.append([grid, f"{within:.0%}", *(f"{probability:.0%}" for probability in between)])
    return list(groups), rows


@dataclass(frozen=True)
class TransferTable:
    """Intervals chosen on the data sets of one space (rows), used on those with accuracies (columns)."""

    num_archs: int
    columns: list[str]
    rows: list[list[str]]


def transfer_tables(profiles: Sequence[SampledProfile], *, replicates: int) -> Iterator[TransferTable]:
    """Choose on one data set, rank on another: a table for each search space that was measured on several."""
    by_space: dict[str, list[SampledProfile]] = {}
    for profile in default_profiles(profiles):
        by_space.setdefault(profile.task[0], []).append(profile)
    for of_space in by_space.values():
        with_accuracy = [profile for profile in of_space if profile.selector is not None]
        samples = dict(zip([profile.title for profile in of_space], align(of_space), strict=True))
        num_archs = samples[of_space[0].title].sizes["arch"]
        if len(of_space) < 2 or not with_accuracy or num_archs < 2 * Chooser.num_archs:
            continue
        choosers = {title: Chooser(sweetness=sample["sweetness"]) for title, sample in samples.items()}
        correlations = [
            judge(samples[profile.title], choosers, replicates=replicates)["correlation"] for profile in with_accuracy
        ]
        rows = [
            [title, *(mean_cell(correlation.sel(chooser=title)) for correlation in correlations)] for title in choosers
        ]
        yield TransferTable(num_archs, [f"used on {profile.title}" for profile in with_accuracy], rows)


@dataclass(frozen=True)
class AveragingTable:
    """What averaging sweetness over the profiles of a group gains before the interval is chosen.

    Attributes
    ----------
    setting
        In what the profiles differ: ``seed`` or ``batch_size``.
    profiles
        The group.
    num_archs
        Architectures that all share.
    columns, rows
        Names and cells: after the chooser, for each grid its mean correlation and its gain over the paper's rule.
    outcomes
        For each grid, averaging over the profile itself: the verdict, the gain, and whether it is too small to matter.
    """

    setting: str
    profiles: Sequence[SampledProfile]
    num_archs: int
    columns: list[str]
    rows: list[list[str]]
    outcomes: list[tuple[str, Verdict, str, bool]]

    @property
    def values(self) -> str:
        """Values of the setting."""
        return ", ".join(str(getattr(profile.info.spec, self.setting)) for profile in self.profiles)


def averaging_tables(
    profiles: Sequence[SampledProfile], *, suggested: str, replicates: int
) -> Iterator[AveragingTable]:
    """For the paper's grid, and for the suggested one, what averaging before the choice gains."""
    for setting in ("seed", "batch_size"):
        group = [profile for profile in varying(profiles, setting) if profile.selector is not None]
        if len(group) < 3:
            continue
        samples = align(group)
        num_archs = samples[0].sizes["arch"]
        if num_archs < 2 * Chooser.num_archs:
            continue
        grids = list(dict.fromkeys((PAPER, suggested)))
        by_grid = {grid: averaged(samples, grid, replicates=replicates) for grid in grids}
        paper = by_grid[PAPER].sel(chooser=_OWN)
        rows = []
        for chooser in map(str, by_grid[PAPER]["chooser"].values):
            row = [chooser]
            for grid in grids:
                correlation = by_grid[grid].sel(chooser=chooser)
                is_paper = chooser == _OWN and grid == PAPER
                row += [mean_cell(correlation), "" if is_paper else gain_cell(correlation - paper)]
            rows.append(row)
        outcomes = [(grid, *_outcome(correlation)) for grid, correlation in by_grid.items()]
        columns = [name for grid in grids for name in (grid, "gain")]
        yield AveragingTable(setting, group, num_archs, columns, rows, outcomes)


def averaged(samples: Sequence[xr.Dataset], grid: str, *, replicates: int) -> xr.DataArray:
    """Mean correlation over the profiles of a group, each judged in turn; dims ``(chooser, replicate)``."""
    correlations = []
    for number, sample in enumerate(samples):
        others = [other["sweetness"] for other in (*samples[number + 1 :], *samples[:number])]
        mean = sum(others[1:], others[0]) / len(others)
        half = sample.sizes["arch"] // 2
        few, all_ = Chooser.num_archs // len(others), Chooser.num_archs
        choosers = {
            _OWN: Chooser(grid),
            "one other": Chooser(grid, others[0]),
            f"the mean of {len(others)} others, {few} architectures of each": Chooser(grid, mean, few),
            f"the mean of {len(others)} others, {all_} architectures of each": Chooser(grid, mean),
            f"{_OWN}, {half} architectures": Chooser(grid, num_archs=half),
        }
        correlations.append(judge(sample, choosers, replicates=replicates)["correlation"])
    return xr.concat(correlations, "profile").mean("profile")


def _outcome(correlation: xr.DataArray) -> tuple[Verdict, str, bool]:
    """Averaging against the profile itself, with the same grid: verdict, gain, and whether that is too small to matter."""
    averaging = next(
        name
        for name in map(str, correlation["chooser"].values)
        if name.endswith(f", {Chooser.num_archs} architectures of each")
    )
    gain = correlation.sel(chooser=averaging) - correlation.sel(chooser=_OWN)
    return verdict(gain), gain_cell(gain), abs(mean_ci(gain)[0]) < _SMALL
