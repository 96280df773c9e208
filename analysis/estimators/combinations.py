"""Estimators that combine others: AZ-NAS, the aggregate of VKDNW, the combination fixed in advance, TE-NAS."""

import numpy as np
import pandas as pd
import xarray as xr

from sweetgrad.analysis.aggregation import aggregate, side_by_side
from sweetgrad.analysis.best_interval import best_interval
from sweetgrad.analysis.estimators.gradients import flops, synflow
from sweetgrad.analysis.estimators.images import jacob_cov
from sweetgrad.analysis.estimators.published import nas_bench_201
from sweetgrad.analysis.estimators.registry import DerivedEstimator, derived
from sweetgrad.analysis.estimators.spectra import (
    AZ_NAS,
    az_expressivity,
    az_progressivity,
    az_trainability,
    vkdnw_single,
)
from sweetgrad.analysis.intervals import IntervalGrid
from sweetgrad.analysis.scores import score

_NUM_CHOOSING = 100


@derived(
    needs=["noise_pass", "tensor_sums"],
    formula="sum of the log ranks of expressivity, progressivity, trainability and multiply-adds",
    source=AZ_NAS,
    published=nas_bench_201(spearman=(0.912, 0.899, 0.876), kendall=(0.739, 0.722, 0.694), source="VKDNW's run"),
    is_relative=True,
)
def az_nas(data: xr.Dataset) -> xr.DataArray:
    return _sum_of_log_ranks(_scores_of(data, az_expressivity, az_progressivity, az_trainability, flops))


@derived(
    needs=["counts", "noise_pass", "tensor_sums", "image_jacobian", "vkdnw"],
    formula="sum of the log ranks of vkdnw_single, jacob_cov, expressivity, trainability and multiply-adds",
    source="Tybl & Neumann, VKDNW, CVPR 2025",
    published=nas_bench_201(spearman=(0.911, 0.905, 0.893), kendall=(0.740, 0.735, 0.722), source="VKDNW"),
    is_relative=True,
)
def vkdnw_aggregate(data: xr.Dataset) -> xr.DataArray:
    return _sum_of_log_ranks(_scores_of(data, vkdnw_single, jacob_cov, az_expressivity, az_trainability, flops))


@derived(
    needs=["noise_pass", "tensor_sums", "synflow"],
    formula="sum of the log ranks of the four parts of AZ-NAS and of SynFlow",
    source=AZ_NAS,
    published=nas_bench_201(kendall=(0.776, 0.758, 0.747), source="AZ-NAS"),
    is_relative=True,
)
def az_nas_synflow(data: xr.Dataset) -> xr.DataArray:
    return _sum_of_log_ranks(_scores_of(data, az_expressivity, az_progressivity, az_trainability, flops, synflow))


@derived(
    needs=["counts", "noise_pass", "synflow"],
    formula="sum of the log ranks of Sweet Gradient (the interval of split 1 that the first 100 architectures choose), "
    "expressivity, trainability and SynFlow",
    source="fixed before any of its figures were known; see the findings",
    is_relative=True,
)
def sweet_az_synflow(data: xr.Dataset) -> xr.DataArray:
    best = best_interval(data, IntervalGrid(max=10, min=1e-10, split=1), num_archs=_NUM_CHOOSING, bootstrap=1)
    sweet = score(data, best).reset_coords(drop=True).compute()
    return _sum_of_log_ranks(
        {"sweetimator": sweet, **_scores_of(data, az_expressivity, az_trainability, synflow)},
        interval=str(best.interval),
    )


def _scores_of(data: xr.Dataset, *estimators: DerivedEstimator) -> dict[str, xr.DataArray]:
    return {estimator.name: estimator(data) for estimator in estimators}


def _sum_of_log_ranks(scores: dict[str, xr.DataArray], **attrs: str) -> xr.DataArray:
    """AZ-NAS's aggregate of several scores, among all architectures that they have."""
    return aggregate(side_by_side(scores)).assign_attrs(attrs)


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
