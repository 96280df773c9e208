"""The page of what the counts say beyond the paper: every number and every verdict in it comes from stores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from sweetgrad.analysis.findings.choosing import (
    GRIDS,
    PAPER,
    Chooser,
    Verdict,
    gain_cell,
    judge,
    mean_cell,
    overall,
    verdict,
)
from sweetgrad.analysis.findings.live import live_gain
from sweetgrad.analysis.findings.profiles import SampledProfile, default_profiles, read_profiles, require_different
from sweetgrad.analysis.findings.record import judge_combinations
from sweetgrad.analysis.findings.stability import agreement_table, averaging_tables, choice_rows, transfer_tables
from sweetgrad.analysis.labels import labelled_profiles
from sweetgrad.store import Location
from sweetgrad.store.pages import quoted, render
from sweetgrad.store.redaction import redacted

_DRAWS = 50


def combination_page(stores: Iterable[Location]) -> str:
    """Write the first section of `findings_page` alone, on the combination of estimators that was fixed in advance.

    Parameters
    ----------
    stores
        Paths or URLs.

    Returns
    -------
    Markdown.

    Raises
    ------
    ValueError
        If no profile has the blocks of the combination and an accuracy, or two stores hold the same profile.
    """
    stores = list(stores)
    profiles = list(labelled_profiles(stores))
    require_different(profiles)
    record = judge_combinations(profiles)
    if record is None:
        raise ValueError(
            "expected a profile with the blocks noise_pass and synflow and trained accuracies of its data set, and there is none "
            f"in {', '.join(map(redacted, stores))}: `sweetgrad profile STORE --blocks noise_pass,synflow` adds these blocks"
        )
    return render(Path(__file__).with_name("combination.md.j2"), record=record, command=_command(stores))


def findings_page(stores: Iterable[Location], *, most: int = 2000, replicates: int = 100) -> str:
    """Write the page of all findings that the profiles of some stores can answer.

    Parameters
    ----------
    stores
        Paths or URLs. Profiles of fewer than 200 architectures are left out; those without accuracies tell of stability only.
    most
        Architectures of each profile that are sampled at most, but for the part on live parameters, which takes all.
    replicates
        Halves and resamples behind every interval.

    Returns
    -------
    Markdown.

    Raises
    ------
    ValueError
        If no profile has enough architectures and an accuracy, or two stores hold the same one.
    """
    stores = list(stores)
    profiles = read_profiles(stores, most=most)
    labelled = [profile for profile in profiles if profile.selector is not None]
    if not labelled:
        raise ValueError(
            f"expected a profile of at least {2 * Chooser.num_archs} architectures with trained accuracies of its data set, and "
            f"there is none in {', '.join(map(redacted, stores))}: "
            "`sweetgrad accuracy import STORE --space SPACE --from FILE` adds some"
        )
    choosers = {grid: Chooser(grid) for grid in GRIDS}
    results = {
        profile.name: judge(profile.sample, choosers, replicates=replicates, draws=_DRAWS) for profile in profiles
    }
    rules = compare_rules(labelled, results)
    agreement_groups, agreement_rows = agreement_table(profiles, results)
    grids = dict.fromkeys((PAPER, rules.suggested))
    return render(
        Path(__file__).with_name("page.md.j2"),
        command=_command(stores),
        replicates=replicates,
        draws=_DRAWS,
        num_archs=Chooser.num_archs,
        profiles=[_profile_row(profile) for profile in profiles],
        choices=choice_rows(profiles, results, PAPER),
        agreement_groups=agreement_groups,
        agreement=agreement_rows,
        transfers=list(transfer_tables(profiles, replicates=replicates)),
        rules=rules,
        suggested_choices=choice_rows(labelled, results, rules.suggested),
        averaging=list(averaging_tables(profiles, suggested=rules.suggested, replicates=replicates)),
        record=judge_combinations(labelled),
        live=[live_gain(profile, grid) for grid in grids for profile in default_profiles(labelled)],
    )


def _command(stores: Sequence[Location]) -> str:
    return f"sweetgrad findings {quoted(stores)}"


def _profile_row(profile: SampledProfile) -> list[str]:
    return [
        f"`{profile.name}`",
        f"{profile.info.status.num_ok:,}",
        f"{profile.sample.sizes['arch']:,}",
        f"`{profile.selector}`" if profile.selector else "none",
        f"`{profile.info.spec.batch_sha256[:8]}`",
        f"`{profile.info.content_digest[:8]}`" if profile.info.content_digest else "run not ended",
    ]


@dataclass(frozen=True)
class RuleComparison:
    """The sweetest interval of each of `GRIDS` as a rule, compared with the paper's.

    Attributes
    ----------
    suggesting, suggested
        Title of the data that suggest a rule, and the grid with the largest mean correlation there.
    columns
        Titles of the data that rules are judged on.
    gains, unlucky
        Cells: the grid, the correlation (paper's rule) or the gain over it (others) on each of ``columns``, and the overall
        verdict; the grid and the correlation in the worst 5 % of draws.
    outcome
        Verdict on the suggested rule over all that was held out; None if it is the paper's.
    by_verdict
        Grids with each overall verdict.
    where
        Titles of what was held out, by the verdict on the suggested rule there.
    num_batches, num_gaining
        Other batches of ``suggesting``, and those in which the suggested rule gains.
    """

    suggesting: str
    suggested: str
    columns: list[str]
    gains: list[list[str]]
    unlucky: list[list[str]]
    outcome: Verdict | None
    by_verdict: dict[Verdict, list[str]]
    where: dict[Verdict, list[str]]
    num_batches: int
    num_gaining: int


def compare_rules(labelled: Sequence[SampledProfile], results: Mapping[str, xr.Dataset]) -> RuleComparison:
    """Compare rules on every space and data set, and on the other batches of the one that suggests a rule."""
    defaults = default_profiles(labelled)
    suggesting = defaults[0]
    suggested = str(results[suggesting.name]["correlation"].mean("replicate").idxmax("chooser").values)
    batches = [
        results[profile.name] for profile in labelled if profile.task == suggesting.task and profile is not suggesting
    ]
    columns = {profile.title: results[profile.name] for profile in defaults}
    if batches:
        mean = xr.concat(batches, "profile").mean("profile")
        columns[f"{suggesting.title}, mean of {len(batches)} other batches"] = mean
    gains = {title: _gain(result) for title, result in columns.items()}
    held_out = [title for title in columns if title != suggesting.title]
    verdicts = {
        grid: {title: verdict(gains[title].sel(chooser=grid)) for title in held_out} for grid in GRIDS if grid != PAPER
    }
    outcomes = {grid: overall(list(by_title.values())) for grid, by_title in verdicts.items()}
    paper = [mean_cell(result["correlation"].sel(chooser=PAPER)) for result in columns.values()]
    kinds: tuple[Verdict, ...] = ("better", "open", "worse")
    return RuleComparison(
        suggesting=suggesting.title,
        suggested=suggested,
        columns=list(columns),
        gains=[
            [PAPER, *paper, ""],
            *(
                [grid, *(gain_cell(gain.sel(chooser=grid)) for gain in gains.values()), outcome]
                for grid, outcome in outcomes.items()
            ),
        ],
        unlucky=[
            [grid, *(f"{float(result['unlucky'].sel(chooser=grid)):.3f}" for result in columns.values())]
            for grid in GRIDS
        ],
        outcome=outcomes.get(suggested),
        by_verdict={kind: [grid for grid, outcome in outcomes.items() if outcome == kind] for kind in kinds},
        where={
            kind: [title for title, there in verdicts.get(suggested, {}).items() if there == kind] for kind in kinds
        },
        num_batches=len(batches),
        num_gaining=sum(float(_gain(result).sel(chooser=suggested).mean()) > 0 for result in batches),
    )


def _gain(result: xr.Dataset) -> xr.DataArray:
    """Correlation of every rule less that of the paper's, replicate by replicate."""
    return result["correlation"] - result["correlation"].sel(chooser=PAPER)
