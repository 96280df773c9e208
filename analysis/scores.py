"""The score of an architecture (Eq. 1)."""

import numpy as np
import xarray as xr

from sweetgrad.analysis.counts import Kind, interval_counts
from sweetgrad.analysis.intervals import Intervals, is_single
from sweetgrad.store.format.schema import STATUS


def score(profile: xr.Dataset, interval: Intervals, *, kind: Kind = "weight") -> xr.DataArray:
    r"""Number of parameters whose gradient lies in an interval (Eq. 1), over the whole network.

    .. math:: \mathrm{Score}(t_1, t_2) = \#\{k : t_1 \le |\partial J / \partial \theta_k| < t_2\}

    Parameters
    ----------
    profile
        A profile as returned by `open_profile`; only ``grad_count_network`` and ``status`` are read.
    interval
        One interval, the result of `best_interval`, a sequence of intervals, or a grid.
    kind
        As in `interval_counts`.

    Returns
    -------
    Dims ``(arch,)`` for one interval, else ``(arch, interval)``; parameters, float64; NaN where ``status`` is not 1.
    Lazy when the profile is lazy.

    Raises
    ------
    ValueError
        If ``kind`` is unknown.

    Examples
    --------
    >>> from sweetgrad.store import empty_rows
    >>> rows = empty_rows(["a", "b"], [0, 1], layers=["stem"])
    >>> rows.grad_count_network[0, 0, 0] = 7
    >>> rows.status[0] = 1
    >>> score(rows, (0, 1e-3)).values
    array([ 7., nan])
    """
    counts = interval_counts(profile, interval, kind=kind, level="network")
    scores = counts.astype(np.float64).where(profile["status"] == STATUS["ok"]).assign_attrs(counts.attrs)
    return (scores.isel(interval=0) if is_single(interval) else scores).rename("score")
