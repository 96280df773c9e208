"""Several estimators as one score: the sum of their log ranks (AZ-NAS) or of their ranks, in a reference set that is named."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Aggregation: TypeAlias = Literal["log_ranks", "ranks"]


def aggregate(
    scores: xr.DataArray | xr.Dataset,
    *,
    method: Aggregation = "log_ranks",
    weights: Mapping[str, float] | None = None,
    signs: Mapping[str, int] = MappingProxyType({}),
    within: xr.DataArray | Sequence[str] | None = None,
    reference: str | None = None,
) -> xr.DataArray:
    r"""Sum over estimators of the log of the rank that an architecture has in a reference set (Lee & Ham, AZ-NAS, CVPR 2024).

    .. math:: A(a) = \sum_j w_j \log \frac{r_j(a)}{m}

    with r = 1 for the worst and r = m for the best of the m architectures of the reference set. A low rank in one estimator
    costs much, so what ranks high is good in all of them. The aggregate of VKDNW has the same form with other members.

    Parameters
    ----------
    scores
        Dims ``(arch, estimator)`` with names as coordinates; or a dataset with such a variable ``score``, as returned by
        `estimator_scores`. Greater is better. ``-inf`` is the worst score, and all ``-inf`` are equal.
    method
        ``"log_ranks"``; or ``"ranks"``, the sum of w r / m.
    weights
        Weight by estimator; one without a weight, or with weight 0, does not take part. None: all of them, with weight 1.
    signs
        -1 for each estimator of which less is better; its scores are negated before they are ranked.
    within
        The reference set: architecture strings, or a boolean array with dim ``arch`` that has every architecture of ``scores``.
        None: all architectures. Those that lack the score of a member are never part of it.
    reference
        Name of the reference set, for the attributes; by default ``all 15,625``, ``15,600 of 15,625`` (the others lack a score)
        or, with ``within``, ``sample of 1,000``.

    Returns
    -------
    Dims ``(arch,)``, in memory; greater is better. NaN where the score of a member is NaN. Equal scores share the mean of their
    ranks. An architecture outside the reference set has the rank of those inside that equal it, or else one half way between
    its neighbours (0.5 below the worst, m + 0.5 above the best): its aggregate is comparable with theirs, and theirs do not
    depend on it. Attributes: ``method``, ``members``, ``weights``, ``signs``, ``reference``, ``num_reference`` (m).

    Raises
    ------
    ValueError
        If dims or names are missing or unknown, a weight is not finite, a sign is not 1 or -1, an architecture occurs twice, or
        the reference set has fewer than 2 architectures.

    Examples
    --------
    Ranks 1, 2, 3 and 2, 3, 1:

    >>> values = [[0.1, 5.0], [0.2, 9.0], [0.7, -np.inf]]
    >>> coords = {"arch": ["a", "b", "c"], "estimator": ["snip", "trainability"]}
    >>> scores = xr.DataArray(values, coords, ("arch", "estimator"))
    >>> np.exp(aggregate(scores)).values.round(3)
    array([0.222, 0.667, 0.333])
    >>> aggregate(scores).attrs["reference"]
    'all 3'
    """
    if method not in get_args(Aggregation):
        raise ValueError(f"method must be one of {', '.join(get_args(Aggregation))}, got {method!r}")
    table = _table(scores)
    factors = _weights(table, weights)
    directions = _signs(table, signs, list(factors))
    columns = np.ascontiguousarray(table.sel(estimator=list(factors)).values.T, dtype=np.float64)
    columns = columns * np.array(list(directions.values()), np.float64)[:, None]
    complete = np.asarray(~np.isnan(columns).any(axis=0))
    inside = complete & _mask(table, within)
    num = int(inside.sum())
    if num < 2:
        raise ValueError(
            f"ranks need a reference set of at least 2 architectures with a score of {', '.join(factors)}, got {num}: score more "
            "of them, or leave out the estimators that have few scores"
        )
    total = np.zeros(len(complete))
    for column, factor in zip(columns, factors.values(), strict=True):
        share = ranks_within(column, column[inside]) / num
        total += factor * (np.log(share) if method == "log_ranks" else share)
    total[~complete] = np.nan
    attrs = {
        "units": "1",
        "method": method,
        "members": list(factors),
        "weights": list(factors.values()),
        "signs": list(directions.values()),
        "reference": reference or _describe(num, len(complete), within),
        "num_reference": num,
    }
    return xr.DataArray(total, {"arch": table["arch"].variable}, "arch", name="aggregate", attrs=attrs)


def side_by_side(columns: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Scores of several estimators by name, dims ``(arch,)`` each, as one array, dims ``(arch, estimator)``, float64."""
    names = xr.Variable("estimator", np.array(list(columns), dtype=object))
    arrays = [column.reset_coords(drop=True).astype(np.float64) for column in columns.values()]
    return xr.concat(arrays, names, join="exact", coords="minimal", compat="override").transpose("arch", "estimator")


def ranks_within(values: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ascending rank of every value among those of a reference set; equal ones share the mean rank, others are half way between.

    Examples
    --------
    >>> ranks_within(np.array([1.0, 2.0, 2.0, 3.0, 2.5, 9.0]), np.array([1.0, 2.0, 2.0, 3.0]))
    array([1. , 2.5, 2.5, 4. , 3.5, 4.5])
    """
    ordered = np.sort(reference)
    # Those below, and half of those that are equal, of which a member of the set is one itself.
    return np.asarray((ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right") + 1) / 2)


def _table(scores: xr.DataArray | xr.Dataset) -> xr.DataArray:
    if isinstance(scores, xr.Dataset):
        if "score" not in scores:
            raise ValueError(f"expected a dataset with the variable score, got {', '.join(map(str, scores)) or 'none'}")
        scores = scores["score"]
    if set(scores.dims) != {"arch", "estimator"} or not {"arch", "estimator"} <= set(scores.coords):
        raise ValueError(
            f"expected dims (arch, estimator), each with its names as coordinate, got dims {scores.dims} and the coordinates "
            f"{', '.join(map(str, scores.coords)) or 'none'}"
        )
    for dim in ("arch", "estimator"):
        index = scores.indexes[dim]
        if not index.is_unique:
            raise ValueError(f"{dim} {index[index.duplicated()][0]!r} occurs more than once: keep one of each")
    return scores.transpose("arch", "estimator").compute()


def _weights(table: xr.DataArray, weights: Mapping[str, float] | None) -> dict[str, float]:
    names = [str(name) for name in table["estimator"].values]
    given = dict.fromkeys(names, 1.0) if weights is None else {name: float(weights[name]) for name in weights}
    _require_known(given, names, "weights")
    wrong = [name for name, weight in given.items() if not np.isfinite(weight)]
    if wrong:
        raise ValueError(f"the weight of {wrong[0]} must be a finite number, got {given[wrong[0]]}")
    members = {name: given[name] for name in names if given.get(name)}
    if not members:
        raise ValueError(f"no estimator takes part: give one of {', '.join(names)} a weight other than 0")
    return members


def _signs(table: xr.DataArray, signs: Mapping[str, int], members: Sequence[str]) -> dict[str, int]:
    _require_known(signs, [str(name) for name in table["estimator"].values], "signs")
    wrong = [name for name, sign in signs.items() if sign not in (1, -1)]
    if wrong:
        raise ValueError(f"the sign of {wrong[0]} must be 1 or -1, where less is better, got {signs[wrong[0]]}")
    return {name: int(signs.get(name, 1)) for name in members}


def _require_known(given: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(
            f"{what} has {unknown[0]!r}, which is no estimator of the scores; they have {', '.join(names)}"
        )


def _mask(table: xr.DataArray, within: xr.DataArray | Sequence[str] | None) -> NDArray[np.bool_]:
    archs = table.indexes["arch"]
    if within is None:
        return np.ones(len(archs), dtype=bool)
    if isinstance(within, xr.DataArray) and within.dtype == bool:
        if within.dims != ("arch",) or "arch" not in within.coords:
            raise ValueError(f"within must have the dim arch with architecture strings, got dims {within.dims}")
        position = within.indexes["arch"].get_indexer(archs)
        if (position < 0).any():
            raise ValueError(
                f"within has no entry for {archs[position < 0][0]!r}: it must say of every architecture whether it is in the set"
            )
        return np.asarray(within.values[position])
    chosen = np.asarray(within).tolist()
    if isinstance(within, str) or not all(isinstance(name, str) for name in chosen):
        raise ValueError(
            f"within must be architecture strings, or a boolean DataArray with the dim arch, got {within!r:.80}: a mask without "
            "strings could be in another order"
        )
    unknown = [name for name in chosen if name not in archs]
    if unknown:
        raise ValueError(f"within names {len(unknown)} architectures that have no row in scores, e.g. {unknown[0]!r}")
    return np.asarray(archs.isin(chosen))


def _describe(num: int, num_archs: int, within: object) -> str:
    if num == num_archs:
        return f"all {num:,}"
    return f"{num:,} of {num_archs:,}" if within is None else f"sample of {num:,}"
