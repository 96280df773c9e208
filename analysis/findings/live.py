"""How much of Sweetimator's gain over the number of parameters is due to live parameters alone."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from sweetgrad.analysis.best_interval import best_interval
from sweetgrad.analysis.correlation import spearman_by_column, spearman_within
from sweetgrad.analysis.counts import measured_rows
from sweetgrad.analysis.estimators import params_live, params_weights
from sweetgrad.analysis.findings.choosing import GRIDS, Chooser, Verdict, estimate_cell, verdict
from sweetgrad.analysis.intervals import Intervals
from sweetgrad.analysis.labels import LabelledProfile
from sweetgrad.analysis.scores import score

_SMALLEST_GROUP = 10
"""Fewer architectures with the same live parameters rank by chance."""


def gain_of_live(
    profile: xr.Dataset, accuracy: xr.DataArray, interval: Intervals, *, num_chose: int = 100, bootstrap: int = 200
) -> xr.Dataset:
    """Correlate parameters, live parameters and Sweetimator with accuracy, also among equal numbers of live parameters.

    Parameters
    ----------
    profile, accuracy
        As in `rank_sweetimator`.
    interval
        The interval of Sweetimator.
    num_chose
        Number of architectures, the first measured ones, that chose the interval; they are excluded.
    bootstrap
        Resamples of the architectures.

    Returns
    -------
    Dims ``(resample,)``, the first without resampling. Spearman correlations: ``params``, ``params_live``, ``sweet``; ``within``,
    that of ``sweet`` within groups of equal ``params_live`` (see `spearman_within`); ``params_all_live`` and ``sweet_all_live``,
    among architectures without dead weights. ``share_of_gain`` is the gain of ``params_live`` over ``params``, divided by that of
    ``sweet``. Attributes: ``num_archs``, ``num_grouped`` (in groups large enough), ``num_groups`` and ``num_all_live``.
    """
    rows = profile.isel(arch=measured_rows(profile)[num_chose:])
    trained = accuracy.reindex(arch=rows["arch"].values).values
    scores = np.stack([params_weights(rows).values, params_live(rows).values, score(rows, interval).values], axis=1)
    scores, trained = scores[~np.isnan(trained)], trained[~np.isnan(trained)]
    group, size = np.unique(scores[:, 1], return_inverse=True, return_counts=True)[1:]
    is_grouped = size[group] >= _SMALLEST_GROUP
    all_live = scores[:, 0] == scores[:, 1]
    random = np.random.RandomState(0)
    resamples = [np.arange(len(trained)), *(random.randint(0, len(trained), len(trained)) for _ in range(bootstrap))]
    columns = []
    for resample in resamples:
        params, live, sweet = spearman_by_column(scores[resample], trained[resample])
        grouped, alive = resample[is_grouped[resample]], resample[all_live[resample]]
        within = spearman_within(scores[grouped, 2], trained[grouped], scores[grouped, 1])
        among_live = (
            spearman_by_column(scores[alive][:, [0, 2]], trained[alive]) if len(alive) > 1 else (np.nan, np.nan)
        )
        columns.append([params, live, sweet, (live - params) / (sweet - params), within, *among_live])
    names = ("params", "params_live", "sweet", "share_of_gain", "within", "params_all_live", "sweet_all_live")
    return xr.Dataset(
        {name: ("resample", values) for name, values in zip(names, np.array(columns).T, strict=True)},
        attrs={
            "num_archs": len(trained),
            "num_grouped": int(is_grouped.sum()),
            "num_groups": int((size >= _SMALLEST_GROUP).sum()),
            "num_all_live": int(all_live.sum()),
        },
    )


@dataclass(frozen=True)
class LiveGain:
    """The result of `gain_of_live` for one profile and grid.

    Attributes
    ----------
    title, grid
        The profile, and the grid that the interval was chosen from.
    row
        Cells of the table.
    share_of_gain
        Part of the gain that live parameters have by themselves, in per cent; None where there is no gain.
    within
        Whether Sweetimator ranks among equally many live weights; None where no group is large enough.
    """

    title: str
    grid: str
    row: list[str]
    share_of_gain: int | None
    within: Verdict | None


def live_gain(labelled: LabelledProfile, grid: str) -> LiveGain:
    """Choose an interval from one of `GRIDS`, and tell how much of its gain is live parameters."""
    profile, accuracy = labelled.with_accuracy()
    interval = best_interval(profile, GRIDS[grid], bootstrap=1).interval
    gain = gain_of_live(profile, accuracy, interval, num_chose=Chooser.num_archs)
    share_of_gain, within = live_verdict(gain)
    row = [
        labelled.title,
        grid,
        str(interval),
        f"{gain.attrs['num_archs']:,}",
        *(estimate_cell(gain[name]) for name in ("params", "params_live", "sweet")),
        "" if share_of_gain is None else estimate_cell(gain["share_of_gain"]),
        estimate_cell(gain["within"]),
        f"{gain.attrs['num_groups']:,} / {gain.attrs['num_grouped']:,}",
        *(estimate_cell(gain[name]) for name in ("params_all_live", "sweet_all_live")),
        f"{gain.attrs['num_all_live']:,}",
    ]
    return LiveGain(labelled.title, grid, row, share_of_gain, within)


def live_verdict(gain: xr.Dataset) -> tuple[int | None, Verdict | None]:
    """``share_of_gain`` and ``within`` of `LiveGain`, from the result of `gain_of_live`."""
    has_gain = verdict((gain["sweet"] - gain["params"])[1:]) == "better"
    return (
        round(100 * float(gain["share_of_gain"][0])) if has_gain else None,
        verdict(gain["within"][1:]) if gain.attrs["num_groups"] else None,
    )
