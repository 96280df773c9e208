"""Which architectures to pick: scores, estimators and accuracies side by side, the best first."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
import xarray as xr

from sweetgrad.analysis.aggregation import Aggregation, aggregate
from sweetgrad.analysis.comparison import smaller_is_better

COMBINED = "combined"


def rank_architectures(
    scores: xr.Dataset,
    *,
    by: Sequence[str] = ("sweetimator",),
    method: Aggregation = "log_ranks",
    show: Sequence[str] = (),
    accuracies: Mapping[str, xr.DataArray] = MappingProxyType({}),
) -> xr.Dataset:
    """Rank architectures by an estimator, or by several, and put others and accuracies beside it.

    Parameters
    ----------
    scores
        As returned by `estimator_scores`.
    by
        The estimator that ranks; of several, their aggregate over the architectures that have all.
    method
        How several are aggregated, as in `aggregate`.
    show
        More estimators to put beside it.
    accuracies
        By name, each of dims ``(arch,)`` in per cent, with architecture strings as coordinate, in any order.

    Returns
    -------
    Dims ``(arch,)``, the best first; those without a score are left out. ``rank``, int64: 1 is the best, equal scores share the
    smallest; ``combined`` if several rank; a variable for each estimator and accuracy by its name; ``regret``, percentage points
    that the first accuracy is below the best that any of these architectures has. Attributes: ``ranked_by`` and ``num_unscored``.
    ``to_dataframe()`` gives a table of pandas.

    Raises
    ------
    ValueError
        If an estimator is not among the scores, none is given, or no architecture has a score of all.

    Examples
    --------
    >>> coords = {"arch": ["a", "b", "c"], "estimator": ["sweetimator", "params"]}
    >>> scores = xr.Dataset({"score": (("arch", "estimator"), [[3.0, 9.0], [5.0, 1.0], [np.nan, 2.0]])}, coords)
    >>> ranked = rank_architectures(scores, show=["params"], accuracies={"test": xr.DataArray([90.0], {"arch": ["b"]}, "arch")})
    >>> ranked["arch"].values.tolist(), ranked["rank"].values.tolist(), ranked["test"].values.tolist()
    (['b', 'a'], [1, 2], [90.0, nan])
    """
    names = list(dict.fromkeys([*by, *show]))
    known = [str(name) for name in scores["estimator"].values]
    unknown = [name for name in names if name not in known]
    if unknown or not by:
        raise ValueError(
            f"no scores of {unknown[0]!r}: there are scores of {', '.join(known)}"
            if unknown
            else "name an estimator to rank by"
        )
    less = smaller_is_better()
    columns = {name: scores["score"].sel(estimator=name, drop=True).reset_coords(drop=True).compute() for name in names}
    if len(by) == 1:
        order = -columns[by[0]] if by[0] in less else columns[by[0]]
    else:
        order = aggregate(
            scores["score"].sel(estimator=list(by)), method=method, signs={name: -1 for name in by if name in less}
        )
        columns = {COMBINED: order.reset_coords(drop=True), **columns}
    values = order.values
    if np.isnan(values).all():
        raise ValueError(f"no architecture has a score of {' and '.join(by)}")
    best_first = np.argsort(-values, kind="stable")[: int((~np.isnan(values)).sum())]
    table = xr.Dataset({name: column.astype(np.float64) for name, column in columns.items()}).isel(arch=best_first)
    rank = pd.Series(-values[best_first]).rank(method="min").to_numpy(np.int64)
    table = xr.Dataset({"rank": ("arch", rank)}).assign(table)
    for name, accuracy in accuracies.items():
        table[name] = accuracy.reset_coords(drop=True).compute().reindex(arch=table["arch"])
    if accuracies:
        first = table[next(iter(accuracies))]
        table["regret"] = (first.max() - first).assign_attrs(units="percentage points")
    return table.assign_attrs(ranked_by=list(by), num_unscored=int(np.isnan(values).sum()))
