"""The page of what the counts say beyond the paper, in Markdown: every number and every verdict in it comes from stores."""

from collections.abc import Iterable, Iterator, Sequence

import xarray as xr

from sweetgrad.analysis.findings.choosing import (
    GRIDS,
    PAPER,
    Chooser,
    Verdict,
    estimate_cell,
    gain_cell,
    judge,
    mean_cell,
    overall,
    verdict,
)
from sweetgrad.analysis.findings.live import gain_of_live
from sweetgrad.analysis.findings.profiles import Found, default_profiles, read_profiles
from sweetgrad.analysis.findings.prose import INTRODUCTION, LIVE, RULES
from sweetgrad.analysis.findings.stability import averaging_section, choices_table, stability_section
from sweetgrad.analysis.intervals import Interval
from sweetgrad.analysis.markdown import file_names, markdown_table
from sweetgrad.analysis.sweetness import best_interval
from sweetgrad.store import Location
from sweetgrad.store.redaction import redacted

_VERDICTS = {
    "better": "It proves better: nowhere worse, and better in most of what is held back.",
    "worse": "It proves worse than the paper's rule.",
    "open": "It does not prove better: it is worse somewhere, or no different in half or more of what is held back.",
}


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
    found = read_profiles(stores, most=most)
    judged = [each for each in found if each.selector is not None]
    if not judged:
        raise ValueError(
            f"expected a profile of at least {2 * Chooser.num_archs} architectures with trained accuracies of its data set, and "
            f"there is none in {', '.join(map(redacted, stores))}: "
            "`sweetgrad accuracy import STORE --space SPACE --from FILE` adds some"
        )
    draws = 50
    results = {
        each.name: judge(each.read, {grid: Chooser(grid) for grid in GRIDS}, replicates=replicates, draws=draws)
        for each in found
    }
    suggesting = default_profiles(judged)[0]
    suggested = str(results[suggesting.name]["correlation"].mean("replicate").idxmax("chooser").values)
    blocks = [
        INTRODUCTION.format(names=file_names(stores), replicates=replicates, draws=draws, num_archs=Chooser.num_archs),
        _profiles(found),
        *stability_section(found, results, replicates=replicates),
        *_rules(judged, results, suggesting, suggested),
        *averaging_section(found, suggested=suggested, replicates=replicates),
        *_live(default_profiles(judged), dict.fromkeys((PAPER, suggested))),
    ]
    return "\n\n".join(blocks) + "\n"


def _profiles(found: Sequence[Found]) -> str:
    rows = [
        [
            f"`{each.name}`",
            f"{each.info.status.num_ok:,}",
            f"{each.read.sizes['arch']:,}",
            f"`{each.selector}`" if each.selector else "none",
            f"`{each.info.spec.batch_sha256[:8]}`",
            f"`{each.info.content_digest[:8]}`" if each.info.content_digest else "run not ended",
        ]
        for each in found
    ]
    header = ["profile", "archs", "sampled", "accuracy", "batch SHA-256", "content digest"]
    shared = "Architectures that many profiles of a space have measured are sampled first."
    return f"## What was read\n\n{markdown_table(header, rows)}\n\n{shared}"


def _rules(judged: Sequence[Found], results: dict[str, xr.Dataset], suggesting: Found, suggested: str) -> Iterator[str]:
    columns = {each.title: results[each.name] for each in default_profiles(judged)}
    batches = [each for each in judged if each.kin == suggesting.kin and each is not suggesting]
    if batches:
        alike = xr.concat([results[each.name] for each in batches], "profile").mean("profile")
        columns[f"{suggesting.title}, mean of {len(batches)} other batches"] = alike
    gains = {title: each["correlation"] - each["correlation"].sel(chooser=PAPER) for title, each in columns.items()}
    held_back = [title for title in columns if title != suggesting.title]
    verdicts = {
        grid: [verdict(gains[title].sel(chooser=grid)) for title in held_back] for grid in GRIDS if grid != PAPER
    }

    yield RULES.format(suggesting=suggesting.title)
    rows = [
        [PAPER, *(mean_cell(each["correlation"].sel(chooser=PAPER)) for each in columns.values()), ""],
        *(
            [grid, *(gain_cell(gains[title].sel(chooser=grid)) for title in columns), overall(verdicts[grid])]
            for grid in verdicts
        ),
    ]
    yield markdown_table(["intervals", *columns, "held back"], rows)
    yield (
        "And the correlation in the worst 5 % of draws, which is what a single choice risks:\n\n"
        + markdown_table(
            ["intervals", *columns],
            [
                [grid, *(f"{float(each['unlucky'].sel(chooser=grid)):.3f}" for each in columns.values())]
                for grid in GRIDS
            ],
        )
    )
    yield _suggestion(suggesting, suggested, verdicts, held_back)
    if batches:
        above = sum(
            float((each["correlation"].sel(chooser=suggested) - each["correlation"].sel(chooser=PAPER)).mean()) > 0
            for each in (results[batch.name] for batch in batches)
        )
        yield f"Over the paper's rule, {suggested} gains in {above} of the {len(batches)} other batches of {suggesting.title}."
    yield f"What is chosen from {suggested}:\n\n" + choices_table(judged, results, suggested)


def _suggestion(suggesting: Found, suggested: str, verdicts: dict[str, list[Verdict]], held_back: Sequence[str]) -> str:
    outcome = {
        kind: [grid for grid in verdicts if overall(verdicts[grid]) == kind] for kind in ("better", "open", "worse")
    }
    lines = [
        f"* {suggesting.title} suggests **{suggested}**, with the largest mean correlation there. "
        + (_VERDICTS[overall(verdicts[suggested])] if suggested in verdicts else "That is the paper's rule."),
        *(
            f"* {said}: {', '.join(grids)}."
            for said, grids in (
                ("Better by what is held back", outcome["better"]),
                ("Neither better nor worse throughout", outcome["open"]),
                ("Worse: what did not work", outcome["worse"]),
            )
            if grids
        ),
    ]
    for kind, said in (("open", "no difference shown"), ("worse", "worse")):
        where = [title for title, found in zip(held_back, verdicts.get(suggested, []), strict=False) if found == kind]
        if where:
            lines.insert(1, f"* {suggested}, {said}: {'; '.join(where)}.")
    return "\n".join(lines)


def _live(profiles: Sequence[Found], grids: Iterable[str]) -> Iterator[str]:
    yield LIVE.format(num_archs=Chooser.num_archs)
    gains = [(each, grid, *_gain(each, grid)) for grid in grids for each in profiles]
    yield markdown_table(
        [
            *("profile", "intervals", "chosen", "archs", "Parameters", "live Parameters", "Sweet Gradient"),
            *("share", "within", "groups / archs", "Parameters, none dead", "Sweet Gradient, none dead", "archs"),
        ],
        [
            [
                each.title,
                grid,
                str(interval),
                f"{gain.attrs['num_archs']:,}",
                *(estimate_cell(gain[name]) for name in ("params", "params_live", "sweet")),
                estimate_cell(gain["share"]) if _has_gain(gain) else "",
                estimate_cell(gain["within"]),
                f"{gain.attrs['num_groups']:,} / {gain.attrs['num_grouped']:,}",
                *(estimate_cell(gain[name]) for name in ("params_all_live", "sweet_all_live")),
                f"{gain.attrs['num_all_live']:,}",
            ]
            for each, grid, interval, gain in gains
        ],
    )
    yield "\n".join(f"* {each.title}, {grid}: {_live_verdict(gain)}" for each, grid, _, gain in gains)


def _gain(each: Found, grid: str) -> tuple[Interval, xr.Dataset]:
    profile, accuracy = each.open(), each.accuracy
    assert accuracy is not None
    interval = best_interval(profile, GRIDS[grid], bootstrap=1).interval
    return interval, gain_of_live(profile, accuracy, interval, num_chose=Chooser.num_archs)


def _has_gain(gain: xr.Dataset) -> bool:
    return verdict((gain["sweet"] - gain["params"])[1:]) == "better"


def _live_verdict(gain: xr.Dataset) -> str:
    share = (
        f"live parameters alone have {round(100 * float(gain['share'][0]))} % of the gain."
        if _has_gain(gain)
        else "Sweet Gradient has no gain over Parameters that could be shared."
    )
    if gain.attrs["num_groups"] == 0:
        return f"{share} No group of equally many live weights is large enough to rank in."
    beyond = {
        "better": "still ranks: it is more than a count of live weights.",
        "worse": "ranks the wrong way round.",
        "open": "shows no ranking of its own.",
    }
    return f"{share} Among equally many live weights Sweet Gradient {beyond[verdict(gain['within'][1:])]}"
