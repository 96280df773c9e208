"""Estimators that combine others by their ranks or values: te_nas, VKDNW's aggregate, the record combinations."""

import numpy as np
import pandas as pd
import xarray as xr


def te_nas(scores: xr.DataArray) -> xr.DataArray:
    """Rank by linear regions, less the rank by the condition number of the tangent kernel (TE-NAS, Chen et al. 2021).

    Parameters
    ----------
    scores
        Dims ``(arch, estimator)``, with the estimators ``te_nas_condition`` and ``te_nas_regions``.

    Returns
    -------
    Dims ``(arch,)``: greater is better. Ranks are among the architectures that have both, equal values share the mean rank; NaN
    where one is missing. It depends on which architectures are compared, as the method does.

    Examples
    --------
    >>> values = [[10.0, 3.0], [2.0, 9.0], [5.0, 5.0], [1.0, np.nan]]
    >>> names = ["te_nas_condition", "te_nas_regions"]
    >>> te_nas(xr.DataArray(values, {"estimator": names}, ("arch", "estimator"))).values
    array([-2.,  2.,  0., nan])
    """
    condition, regions = (scores.sel(estimator=f"te_nas_{part}", drop=True) for part in ("condition", "regions"))
    both = ~(np.isnan(condition.values) | np.isnan(regions.values))
    ranks = np.full(both.shape, np.nan)
    ranks[both] = pd.Series(regions.values[both]).rank() - pd.Series(condition.values[both]).rank()
    return condition.copy(data=ranks).rename("te_nas")


def te_nas_nobn(scores: xr.DataArray) -> xr.DataArray:
    """Linear regions less condition number, both without BatchNorm: the combination of the paper's Table 1.

    Parameters
    ----------
    scores
        Dims ``(arch, estimator)``, with the estimators ``te_nas_condition_nobn`` and ``te_nas_regions_nobn``.

    Returns
    -------
    Dims ``(arch,)``: greater is better.
    """
    regions, condition = (scores.sel(estimator=f"te_nas_{part}_nobn", drop=True) for part in ("regions", "condition"))
    return (regions - condition).rename("te_nas_nobn")
