"""How much of Sweet Gradient's gain over Parameters is that of the live parameters alone."""

import numpy as np
import xarray as xr

from sweetgrad.analysis.correlation import spearman_by_column, spearman_within
from sweetgrad.analysis.counts import measured_rows
from sweetgrad.analysis.estimators import params_live, params_weights
from sweetgrad.analysis.intervals import Intervals
from sweetgrad.analysis.scores import score

_SMALLEST_GROUP = 10
"""Fewer architectures with the same live parameters rank by chance."""


def gain_of_live(
    profile: xr.Dataset, accuracy: xr.DataArray, interval: Intervals, *, num_chose: int = 100, bootstrap: int = 200
) -> xr.Dataset:
    """Correlate Parameters, live Parameters and Sweet Gradient with accuracy, and Sweet Gradient among equal live Parameters.

    Parameters
    ----------
    profile, accuracy
        As in `rank_sweet_gradient`.
    interval
        The interval of Sweet Gradient.
    num_chose
        The first so many architectures that were measured chose the interval: they are left out.
    bootstrap
        Resamples of the architectures.

    Returns
    -------
    Dims ``(resample,)``, the first without resampling: Spearman of ``params``, ``params_live``, ``sweet``; ``share``: of the gain
    of ``sweet`` over ``params``, that of ``params_live``; ``within``: of ``sweet`` within groups of equal ``params_live`` (see
    `spearman_within`); ``params_all_live`` and ``sweet_all_live``: among architectures without dead weights. In the attributes
    ``num_archs``, ``num_grouped`` (in groups large enough), ``num_groups`` and ``num_all_live``.
    """
    measured = measured_rows(profile)[num_chose:]
    rows = profile.isel(arch=measured)
    trained = accuracy.reindex(arch=rows["arch"].values).values
    columns = np.stack(
        [each.values for each in (params_weights(rows), params_live(rows), score(rows, interval))], axis=1
    )
    columns, trained = columns[~np.isnan(trained)], trained[~np.isnan(trained)]
    group, size = np.unique(columns[:, 1], return_inverse=True, return_counts=True)[1:]
    grouped = size[group] >= _SMALLEST_GROUP
    all_live = columns[:, 0] == columns[:, 1]
    random = np.random.RandomState(0)
    picks = [np.arange(len(trained)), *(random.randint(0, len(trained), len(trained)) for _ in range(bootstrap))]
    found = []
    for pick in picks:
        whole, among = spearman_by_column(columns[pick], trained[pick]), pick[all_live[pick]]
        inside = pick[grouped[pick]]
        within = spearman_within(columns[inside, 2], trained[inside], columns[inside, 1])
        alive = spearman_by_column(columns[among][:, [0, 2]], trained[among]) if len(among) > 1 else np.full(2, np.nan)
        found.append([*whole, (whole[1] - whole[0]) / (whole[2] - whole[0]), within, *alive])
    names = ("params", "params_live", "sweet", "share", "within", "params_all_live", "sweet_all_live")
    return xr.Dataset(
        {name: ("resample", values) for name, values in zip(names, np.array(found).T, strict=True)},
        attrs={
            "num_archs": len(trained),
            "num_grouped": int(grouped.sum()),
            "num_groups": int((size >= _SMALLEST_GROUP).sum()),
            "num_all_live": int(all_live.sum()),
        },
    )
