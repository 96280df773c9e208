"""Estimators of how the images of a batch are told apart: by Jacobians, by ReLU patterns, by the outputs of layers."""

import numpy as np
import xarray as xr

from sweetgrad.analysis.estimators.published import nas_bench_201, suite_zero
from sweetgrad.analysis.estimators.registry import derived

_K = 1e-5
_MANY_CLASSES = 100
_MELLOR_1 = "Mellor et al., arXiv 2006.04647v1"


@derived(
    needs=["counts", "image_jacobian"],
    formula="-sum of log(v + k) + 1 / (v + k) over the eigenvalues v of the correlation of the images' Jacobians, k = 1e-5",
    source=_MELLOR_1,
    published=nas_bench_201(spearman=(0.712, 0.720, 0.701), source="VKDNW's run"),
)
def jacob_cov(data: xr.Dataset) -> xr.DataArray:
    shifted = data.jacobian_eigenvalue.astype(np.float64) + _K
    return -(np.log(shifted) + 1 / shifted).sum("eigenvalue")


@derived(
    needs=["counts", "image_jacobian"],
    formula="sum of log(v + k) over the same eigenvalues",
    source="jacob_cov without its second term: the log-determinant of the correlation",
)
def jacob_cov_log_det(data: xr.Dataset) -> xr.DataArray:
    return np.log(data.jacobian_eigenvalue.astype(np.float64) + _K).sum("eigenvalue")


@derived(
    needs=["counts", "image_jacobian"],
    formula="sum over classes of abs(sum of log(abs(corr) + 1e-5)); above 100 classes, mean difference of all pairs",
    source="Lopes et al., EPE-NAS, ICANN 2021",
    published=suite_zero(0.70, 0.60, 0.33),
)
def epe_nas(data: xr.Dataset) -> xr.DataArray:
    by_class = data.jacobian_class_log_corr.astype(np.float64)
    if by_class.sizes["class"] <= _MANY_CLASSES:
        return abs(by_class).sum("class")
    other = by_class.rename({"class": "other"})
    return abs(by_class - other).sum(["class", "other"]) / by_class.notnull().sum("class")


@derived(
    needs=["counts", "relu_patterns"],
    formula="log abs(det) of the number of ReLU units in which two images agree, over all ReLUs",
    source="Mellor et al., ICML 2021",
    published=nas_bench_201(spearman=(0.742, 0.768, 0.768), source="VKDNW's run, images of noise"),
)
def naswot(data: xr.Dataset) -> xr.DataArray:
    return np.log(data.pattern_eigenvalue.astype(np.float64)).sum("eigenvalue", skipna=False)


@derived(
    needs=["counts", "relu_patterns"],
    formula="sum over layers with ReLUs of the same log abs(det)",
    source="naswot by layer",
)
def naswot_by_layer(data: xr.Dataset) -> xr.DataArray:
    return data.pattern_log_det.astype(np.float64).sum("layer")


@derived(
    needs=["counts", "relu_patterns"],
    formula="sum over cells l of 2^l times log abs(det) of the absolute correlations of outputs and of their gradients",
    source="after WRCor (Neurocomputing 2025), which adds the correlations of single ReLUs before the determinant",
)
def wrcor_of_cells(data: xr.Dataset) -> xr.DataArray:
    log_det = data.output_corr_log_det.astype(np.float64) + data.output_grad_corr_log_det
    weight = xr.DataArray(2.0 ** np.arange(log_det.sizes["layer"]), dims="layer")
    return (log_det * weight).sum("layer") / weight.sum()


@derived(
    needs=["counts", "relu_patterns"],
    formula="number of different patterns of a ReLU unit over 16 images",
    source="after SWAP, Peng et al., ICLR 2024, which counts in one cell with 3 channels and weights from N(0, 1)",
)
def num_patterns(data: xr.Dataset) -> xr.DataArray:
    return data.num_patterns_network


@derived(
    needs=["counts", "relu_patterns"],
    formula="sum over layers of the number of different patterns of their ReLU units over 16 images",
    source="after SWAP, by layer",
)
def num_patterns_by_layer(data: xr.Dataset) -> xr.DataArray:
    return data.num_patterns.astype(np.float64).sum("layer")


@derived(
    needs=["noise_image"],
    formula="sum over modules of the smallest eigenvalue of the correlation of the channels of their output",
    source="Jiang et al., MeCo, NeurIPS 2023",
    published=nas_bench_201(kendall=(0.64, 0.64, 0.60), population="as published", source="MeCo"),
)
def meco(data: xr.Dataset) -> xr.DataArray:
    return data.corr_min_sum_network


@derived(
    needs=["noise_image"],
    formula="log(1 + sum over modules of the smallest over the largest singular value of their output)",
    source="first factor of Dextr, Asthana et al., TMLR 2025",
)
def dextr_features(data: xr.Dataset) -> xr.DataArray:
    return np.log1p(data.singular_ratio_sum_network.astype(np.float64))
