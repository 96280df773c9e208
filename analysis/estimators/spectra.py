"""Estimators from the spectra of random images: AZ-NAS, effective rank, participation, VKDNW."""

import numpy as np
import xarray as xr

from sweetgrad.analysis.estimators.published import nas_bench_201
from sweetgrad.analysis.estimators.registry import derived

AZ_NAS = "Lee & Ham, AZ-NAS, CVPR 2024"


@derived(
    needs=["noise_pass"],
    formula="sum over layers of the entropy of the normalised eigenvalues of the channel covariance",
    source=AZ_NAS,
    published=nas_bench_201(kendall=(0.569, np.nan, np.nan), source="AZ-NAS"),
)
def az_expressivity(data: xr.Dataset) -> xr.DataArray:
    entropy = data.spectrum_entropy.astype(np.float64)
    return entropy.sum("layer").where(_all_defined(data, entropy), -np.inf)


@derived(
    needs=["noise_pass"],
    formula="smallest difference of the entropies of two successive layers",
    source=AZ_NAS,
    published=nas_bench_201(kendall=(0.521, np.nan, np.nan), source="AZ-NAS"),
)
def az_progressivity(data: xr.Dataset) -> xr.DataArray:
    entropy = data.spectrum_entropy.astype(np.float64)
    return entropy.diff("layer").min("layer").where(_all_defined(data, entropy), -np.inf)


@derived(
    needs=["noise_pass"],
    formula="mean over layers of 2 - s - 1 / (s + 1e-6), s the largest singular value of g_in' g_out; -inf if g_in is g_out",
    source=AZ_NAS,
    published=nas_bench_201(kendall=(0.349, np.nan, np.nan), source="AZ-NAS"),
)
def az_trainability(data: xr.Dataset) -> xr.DataArray:
    largest = data.grad_map_norm.astype(np.float64)
    by_layer = (2 - largest - 1 / (largest + 1e-6)).where(data.grad_map_is_identity == 0, -np.inf)
    return by_layer.where(largest.notnull()).mean("layer")


@derived(
    needs=["noise_pass"],
    formula="sum over layers of the effective rank of their outputs",
    source="after NEAR, Husistein et al., ICLR 2025, which takes all activations of every layer, not centred, before and after",
)
def effective_rank(data: xr.Dataset) -> xr.DataArray:
    return data.effective_rank.astype(np.float64).sum("layer")


@derived(
    needs=["noise_pass"],
    formula="sum over layers of log((trace C)^2 / trace C^2)",
    source="first factor of InTrain (CVPR 2026), at the outputs of stem, cells and reductions",
)
def participation(data: xr.Dataset) -> xr.DataArray:
    return np.log(data.cov_trace.astype(np.float64) ** 2 / data.cov_sq_trace).sum("layer")


@derived(
    needs=["noise_pass", "counts", "tensor_sums"],
    formula="participation (1 + sum over parameter tensors of min(1, std(g) / max abs(g))) / log(L + 1)",
    source="after InTrain (CVPR 2026): gradients of the profile's batch and initialisation, not of random images and labels",
)
def intrain_like(data: xr.Dataset) -> xr.DataArray:
    spread = _spread(data, "tensor").sum("tensor") + _spread(data, "vector").sum("vector")
    num_layers = (data.tensor_size > 0).sum("tensor")
    return participation.function(data) * (1 + spread) / np.log(num_layers + 1)


@derived(
    needs=["vkdnw"],
    formula="entropy of the normalised deciles of the singular values of the Fisher information",
    source="Tybl & Neumann, VKDNW, CVPR 2025",
)
def vkdnw_entropy(data: xr.Dataset) -> xr.DataArray:
    deciles = data.fisher_decile.astype(np.float64)
    share = deciles / deciles.sum("decile")
    return -(share * np.log(share.where(share > 0, 1))).sum("decile")


@derived(
    needs=["vkdnw"],
    formula="number of parameter tensors, then the same entropy",
    source="Tybl & Neumann, VKDNW, CVPR 2025",
    published=nas_bench_201(spearman=(0.798, 0.802, 0.793), kendall=(0.604, 0.607, 0.602), source="VKDNW"),
)
def vkdnw_single(data: xr.Dataset) -> xr.DataArray:
    # The entropy of nine numbers is at most log(9), which is less than 3.
    return data.num_parameter_tensors.astype(np.float64) + vkdnw_entropy.function(data) / 3


def _all_defined(data: xr.Dataset, entropy: xr.DataArray) -> xr.DataArray:
    """Whether every layer whose output was measured has an entropy: one without any signal has none, and the score is -inf."""
    return (entropy.notnull() | data.cov_trace.isnull()).all("layer")


def _spread(data: xr.Dataset, axis: str) -> xr.DataArray:
    """std(g) / max abs(g), at most 1, of every parameter tensor; 0 where all gradients are 0."""
    size = data[f"{axis}_size"].astype(np.float64)
    mean = data[f"{axis}_grad_sum"].astype(np.float64) / size
    variance = (data[f"{axis}_grad_sq_sum"].astype(np.float64) / size - mean**2).clip(min=0)
    return (variance**0.5 / (data[f"{axis}_grad_abs_max"] + 1e-10)).clip(max=1).where(size > 0)
