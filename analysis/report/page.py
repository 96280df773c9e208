"""The report: its content as plain data, computed from the store, and the one HTML file that shows it and needs nothing else."""

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sweetgrad.analysis.best_interval import BestInterval
from sweetgrad.analysis.correlation import RankCorrelation, correlation_by_interval, rank_correlation
from sweetgrad.analysis.counts import is_estimated
from sweetgrad.analysis.estimators import LossSummary, loss_summary
from sweetgrad.analysis.figures import FIGURES, ProfileAnalysis, figure, open_analysis
from sweetgrad.analysis.figures.style import DENSITY, INK, OTHER, RUNNER_UP, save
from sweetgrad.analysis.intervals import IntervalGrid
from sweetgrad.analysis.verdict import BASELINES, verdict
from sweetgrad.store import CorruptShardError, Location, NotAStoreError, ProfileInfo, StoreError, StoreInfo, info
from sweetgrad.store.pages import html_path
from sweetgrad.store.pages import render as render_template

# As matplotlib writes them: in small letters.
_THEMED = {
    INK.lower(): "var(--ink)",
    RUNNER_UP.lower(): "var(--blue)",
    OTHER.lower(): "var(--bar)",
    "#000000": "var(--ink)",
    "#ffffff": "var(--paper)",
    **{colour: f"var(--density-{level})" for level, colour in enumerate(DENSITY)},
}
"""Colours of pictures that the page has two of, for light and for dark."""


@dataclass(frozen=True)
class Picture:
    """A picture of a report: its title, and the drawing as SVG, or why there is none."""

    name: str
    title: str
    paper: str
    svg: str = ""
    missing: str = ""


def picture(name: str, analysis: ProfileAnalysis) -> Picture:
    """One of `FIGURES`, drawn from a store; where the store lacks what it shows, the reason stands in its place."""
    kind = FIGURES[name]
    try:
        drawn = figure(name, analysis)
    except (ValueError, StoreError) as error:
        return Picture(name, kind.title, kind.paper, missing=str(error))
    file = StringIO()
    save(drawn, file, format="svg")
    return Picture(name, kind.title, kind.paper, svg=_inner_svg(file.getvalue(), prefix=f"{analysis.name}-{name}"))


def _inner_svg(text: str, *, prefix: str) -> str:
    """An SVG to stand in a page: no prologue, no metadata, ids of its own, and the page's colours for ink and paper."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = re.sub(r"\W+", "-", prefix)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for colour, variable in _THEMED.items():
        text = text.replace(colour, variable)
    # The page scales it: the size in points would be a fixed one.
    text = re.sub(r'(<svg .*?)height="[^"]*"', r"\1", text, count=1)
    return re.sub(r'(<svg .*?)width="[^"]*"', r"\1", text, count=1)


Progress = Callable[[str, int, int], None]
"""Called with the current step, the number of steps done, and their total."""

_SETTINGS = ("batch-size", "seed")
_OF_A_PROFILE = tuple(name for name in FIGURES if name not in _SETTINGS)


@dataclass(frozen=True)
class ProfileReport:
    """What a report says about one profile.

    Attributes
    ----------
    info
        How far it is, what it was measured with, its runs and estimators.
    accuracy_name
        Trained accuracy that it is compared with; None where the store has none of its data set.
    best, loss, correlation
        The best interval, the loss at initialisation, and the rank correlation of the score in that interval; None where there is
        too little for them.
    intervals
        A row for every interval: its name, sweetness, win rate, and rank correlation (NaN without accuracy).
    estimators
        A row for every estimator: name, Spearman correlation, its low and high end, published one, seconds, architectures.
    pictures
        By name.
    verdict
        What speaks against the best interval (`verdict`).
    damage
        What cannot be read, where something cannot; the other fields are empty then.
    """

    info: ProfileInfo
    accuracy_name: str | None
    best: BestInterval | None = None
    loss: LossSummary | None = None
    correlation: RankCorrelation | None = None
    intervals: tuple[dict[str, Any], ...] = ()
    estimators: tuple[dict[str, Any], ...] = ()
    pictures: dict[str, Picture] = field(default_factory=dict)
    verdict: tuple[str, ...] = ()
    damage: str = ""

    @property
    def parameters(self) -> float | None:
        """Rank correlation of the number of parameters, which every estimator has to beat."""
        return next((row["spearman"] for row in self.estimators if row["estimator"] == "params"), None)


@dataclass(frozen=True)
class StoreReport:
    """All that a report says; ``settings`` are pictures over several profiles, with what they have in common."""

    store: StoreInfo
    profiles: tuple[ProfileReport, ...]
    settings: tuple[tuple[str, Picture], ...]
    grid: IntervalGrid
    bootstrap: int
    made: str
    sweetgrad: str

    @property
    def estimated(self) -> bool:
        """Whether thresholds of the grid lie inside bins, so that counts are not exact."""
        return is_estimated(self.grid)


def collect(
    location: Location,
    *,
    profiles: Sequence[str] | None = None,
    accuracy: str | None = None,
    grid: IntervalGrid = IntervalGrid(),  # noqa: B008  (frozen)
    bootstrap: int = 1000,
    progress: Progress | None = None,
) -> StoreReport:
    """Compute everything that a report of a store says.

    Parameters
    ----------
    location
        As in `open_store`.
    profiles
        Names of those to report on; None: all.
    accuracy, grid, bootstrap
        As in `open_analysis`.
    progress
        Called before every picture.

    Raises
    ------
    NotAStoreError
        If there is no such store, or it holds no such profile.
    """
    tell = progress or (lambda what, done, total: None)
    store = info(location)
    names = [profile.status.name for profile in store.profiles]
    unknown = [name for name in profiles or () if name not in names]
    if unknown or not names:
        raise NotAStoreError(f"{location} has no profile {', '.join(unknown)}; it has {', '.join(names) or 'none yet'}")
    chosen = sorted(
        (profile for profile in store.profiles if profiles is None or profile.status.name in profiles), key=_place
    )
    settings: dict[str, Any] = {"accuracy": accuracy, "grid": grid, "bootstrap": bootstrap, "opened": {}}
    analyses = [open_analysis(location, profile.status.name, store=store, **settings) for profile in chosen]
    total = len(chosen) * len(_OF_A_PROFILE)
    reports = [
        _profile_report(profile, analysis, partial(_tell_after, tell, number * len(_OF_A_PROFILE), total))
        for number, (profile, analysis) in enumerate(zip(chosen, analyses, strict=True))
    ]
    tell("settings", total, total)
    return StoreReport(
        store=store,
        profiles=tuple(reports),
        settings=tuple(_over_settings(analyses)),
        grid=grid,
        bootstrap=bootstrap,
        made=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        sweetgrad=version("sweetgrad"),
    )


def _tell_after(tell: Progress, done: int, total: int, what: str, number: int) -> None:
    tell(what, done + number, total)


def _place(profile: ProfileInfo) -> tuple[str, str, int, int, str]:
    """Where a profile stands among the others: batch 64 before batch 128, which their names do not give."""
    spec = profile.spec
    return spec.space, spec.dataset, spec.batch_size, spec.seed, profile.status.name


def _profile_report(profile: ProfileInfo, analysis: ProfileAnalysis, tell: Callable[[str, int], None]) -> ProfileReport:
    name = profile.status.name
    if not profile.status.num_ok:
        return ProfileReport(profile, analysis.accuracy_name)
    try:
        analysis.profile  # noqa: B018  (read once, for all that follows)
    except CorruptShardError as error:
        return ProfileReport(profile, analysis.accuracy_name, damage=str(error))
    pictures = {}
    for number, kind in enumerate(_OF_A_PROFILE):
        tell(f"{name}: {kind}", number)
        pictures[kind] = picture(kind, analysis)
    best = _or_none(lambda: analysis.best)
    compared = _or_none(lambda: analysis.comparison) if analysis.accuracy_name else None
    correlation = _or_none(lambda: rank_correlation(analysis.score, analysis.accuracy, bootstrap=analysis.bootstrap))
    estimators = () if compared is None else _estimator_rows(compared)
    baselines = {row["estimator"]: row["spearman"] for row in estimators if row["estimator"] in BASELINES}
    return ProfileReport(
        info=profile,
        accuracy_name=analysis.accuracy_name,
        best=best,
        loss=_or_none(lambda: loss_summary(analysis.profile)),
        correlation=correlation,
        intervals=_interval_rows(best, analysis) if best else (),
        estimators=estimators,
        pictures=pictures,
        verdict=tuple(verdict(best, correlation=correlation and correlation.correlation, baselines=baselines)),
    )


def _interval_rows(best: BestInterval, analysis: ProfileAnalysis) -> tuple[dict[str, Any], ...]:
    by_interval = _or_none(lambda: correlation_by_interval(analysis.profile, analysis.accuracy, analysis.grid))
    table = best.table
    correlation = by_interval.values if by_interval is not None else np.full(table.sizes["interval"], np.nan)
    columns = (table["interval"].values, table["sweetness"].values, table["win_rate"].values, correlation)
    names = ("interval", "sweetness", "win_rate", "correlation")
    return tuple(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _estimator_rows(compared: xr.Dataset) -> tuple[dict[str, Any], ...]:
    rows = (compared.isel(estimator=i) for i in range(compared.sizes["estimator"]))
    return tuple(
        {"estimator": row["estimator"].item(), **{str(key): float(value) for key, value in row.data_vars.items()}}
        for row in rows
    )


def _over_settings(analyses: Sequence[ProfileAnalysis]) -> list[tuple[str, Picture]]:
    """A picture for every group of profiles that differ in batch size or in seed alone; each group once."""
    pictures: list[tuple[str, Picture]] = []
    seen: set[tuple[str, ...]] = set()
    for analysis in analyses:
        for kind in _SETTINGS:
            group = tuple(sibling.name for sibling in analysis.siblings(kind.replace("-", "_")).values())
            if len(group) > 1 and group not in seen:
                seen.add(group)
                fixed = (
                    f"seed {analysis.spec.seed}" if kind == "batch-size" else f"batch size {analysis.spec.batch_size}"
                )
                pictures.append((f"{analysis.spec.space}, {analysis.spec.dataset}, {fixed}", picture(kind, analysis)))
    return pictures


def _or_none(compute: Callable[[], Any]) -> Any:
    """The result, or None where there is too little in the store for it."""
    try:
        return compute()
    except (ValueError, StoreError):
        return None


_NONE, _MINUS, _TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", " \N{MULTIPLICATION SIGN} "


def report(
    location: Location,
    out: str | Path = "report.html",
    *,
    profiles: Sequence[str] | None = None,
    accuracy: str | None = None,
    grid: IntervalGrid = IntervalGrid(),  # noqa: B008  (frozen)
    bootstrap: int = 1000,
    progress: Progress | None = None,
) -> Path:
    """Write one HTML file about a store that needs nothing else to be viewed: no network, no script, no font.

    Parameters
    ----------
    location, profiles, accuracy, grid, bootstrap, progress
        As in `collect`.
    out
        The file.

    Returns
    -------
    Its path.

    Raises
    ------
    NotAStoreError
        As in `collect`.
    ValueError
        If ``out`` has the suffix of another format.
    ImportError
        If matplotlib is missing.
    """
    path = html_path(out, what="a report")
    content = collect(location, profiles=profiles, accuracy=accuracy, grid=grid, bootstrap=bootstrap, progress=progress)
    path.write_text(render(content), encoding="utf-8")
    return path


def render(content: StoreReport) -> str:
    """The page as text, in which everything is escaped: names and messages may come from anybody's store."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return render_template(
        Path(__file__).with_name("page.html.j2"),
        filters={"number": _number, "shown": _shown},
        report=content,
        style=style,
    )


def _number(value: float | None, form: str = ".3f") -> str:
    """A number, or a dash where there is none.

    Examples
    --------
    >>> _number(0.88777), _number(float("nan")) == _NONE, _number(1234, ",.0f")
    ('0.888', True, '1,234')
    """
    if value is None or math.isnan(value):
        return _NONE
    return format(value, form).replace("-", _MINUS)


def _shown(value: Any) -> str:
    """A value of a spec or of a run, as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        is_shape = all(isinstance(part, int) for part in value)
        return (_TIMES if is_shape else ", ").join(str(part) for part in value) or _NONE
    return _NONE if value in ("", None) else str(value)
