"""Estimators from sums over parameter tensors: of weights and gradients, of two batches, of single images, of SynFlow."""

import numpy as np
import xarray as xr

from sweetgrad.analysis.estimators.published import nas_bench_201, suite_zero
from sweetgrad.analysis.estimators.registry import derived
from sweetgrad.store import KINDS

_SUMS = ["counts", "tensor_sums"]
_ABDELFATTAH = "Abdelfattah et al., ICLR 2021"
_ZICO = "Li et al., ICLR 2023"


def _over_tensors(terms: xr.DataArray) -> xr.DataArray:
    """Sum over the tensors that an architecture has; absent ones are NaN."""
    return terms.astype(np.float64).sum("tensor")


@derived(
    needs=["tensor_sums"],
    formula="sum over weight tensors of size times output positions",
    source="multiply-adds of convolutions and linear layers for one image, dead paths included",
    published=suite_zero(0.69, 0.71, 0.67),
)
def flops(data: xr.Dataset) -> xr.DataArray:
    return _over_tensors(data.tensor_size.astype(np.float64) * data.tensor_positions)


@derived(
    needs=["tensor_sums"],
    formula="number of weight tensors",
    source="Tybl & Neumann, CVPR 2025",
    published=nas_bench_201(kendall=(0.580, np.nan, np.nan), source="VKDNW"),
)
def num_layers(data: xr.Dataset) -> xr.DataArray:
    return (data.tensor_size > 0).sum("tensor")


@derived(needs=_SUMS, formula="sum over weight tensors of the L2 norm of the gradient", source=_ABDELFATTAH)
def grad_norm(data: xr.Dataset) -> xr.DataArray:
    return _over_tensors(data.tensor_grad_sq_sum.astype(np.float64) ** 0.5)


@derived(needs=_SUMS, formula="sum of abs(w g)", source="Lee et al., ICLR 2019")
def snip(data: xr.Dataset) -> xr.DataArray:
    return _over_tensors(data.tensor_weight_grad_abs_sum)


@derived(
    needs=["tensor_sums"],
    formula="sum over weight tensors of the L2 norm of the weights",
    source=_ABDELFATTAH,
    published=suite_zero(0.68, 0.72, 0.69),
)
def l2_norm(data: xr.Dataset) -> xr.DataArray:
    return _over_tensors(data.tensor_weight_sq_sum.astype(np.float64) ** 0.5)


@derived(
    needs=_SUMS,
    formula="sum of w g",
    source=_ABDELFATTAH,
    published=suite_zero(-0.26, -0.21, -0.22),
)
def plain(data: xr.Dataset) -> xr.DataArray:
    return _over_tensors(data.tensor_weight_grad_sum)


@derived(
    needs=_SUMS,
    formula="sum over channels of the squared product of output and gradient, times their weights",
    source="Turner et al., ICLR 2020",
)
def fisher(data: xr.Dataset) -> xr.DataArray:
    return _over_tensors(data.tensor_fisher_sum)


@derived(
    needs=["counts"],
    formula="sum of g^2 over the weights, g the gradient of the batch",
    source="ntktrace of the code released with Sweet Gradient",
)
def grad_sq(data: xr.Dataset) -> xr.DataArray:
    return data.grad_sq_sum.isel(kind=KINDS.index("weight"), drop=True).sum("layer")


@derived(
    needs=[*_SUMS, "second_batch"],
    formula="sum over weight tensors of log(sum of mean abs(g) / std(g)), two batches",
    source=_ZICO,
    published=nas_bench_201(spearman=(0.785, 0.794, 0.787), kendall=(0.590, 0.600, 0.594), source="VKDNW's run"),
)
def zico(data: xr.Dataset) -> xr.DataArray:
    return _over_tensors(_zico_terms(data))


@derived(
    needs=[*_SUMS, "second_batch"],
    formula="ZiCo less the sum of log(H W / sqrt(C)) over the same tensors",
    source="Bhardwaj et al., ZiCo-BC, ICCV workshops 2023",
)
def zico_bc(data: xr.Dataset) -> xr.DataArray:
    bias = np.log(data.tensor_positions / np.sqrt(data.tensor_channels))
    return _over_tensors(_zico_terms(data) - bias)


def _zico_terms(data: xr.Dataset) -> xr.DataArray:
    """Logarithms by tensor; NaN where the sum has no term, which ZiCo leaves out."""
    total = data.tensor_snr_sum.astype(np.float64)
    return np.log(total.where(data.tensor_num_varying > 0))


@derived(
    needs=["counts", "second_batch"],
    formula="sum over weight tensors of log(1 / sum of the variance of g), two batches",
    source="the gradient factor of L-SWAG, Casarin et al., CVPR 2025, over all layers instead of chosen ones",
)
def gradient_stability(data: xr.Dataset) -> xr.DataArray:
    total = data.tensor_grad_var_sum.astype(np.float64)
    return _over_tensors(-np.log(total.where(data.tensor_num_varying > 0)))


@derived(
    needs=["per_image"],
    formula="sum over weights of abs(sum over images of sign(g))",
    source="Zhang & Jia, ICLR 2022",
)
def gradsign(data: xr.Dataset) -> xr.DataArray:
    return _over_tensors(data.tensor_sign_sum)


@derived(
    needs=["per_image"],
    formula="trace of the Gram matrix of the images' gradients of the loss",
    source="trace of the tangent kernel of the loss, each image a batch of one",
)
def ntk_trace(data: xr.Dataset) -> xr.DataArray:
    return data.gram_eigenvalue.astype(np.float64).sum("eigenvalue")


@derived(
    needs=["per_image"],
    formula="largest over smallest eigenvalue of the same Gram matrix",
    source="after TE-NAS, Chen et al., ICLR 2021, who take the gradients of the logits in the batch",
    sign=-1,
)
def ntk_condition(data: xr.Dataset) -> xr.DataArray:
    spectrum = data.gram_eigenvalue.astype(np.float64)
    return spectrum.isel(eigenvalue=-1) / spectrum.isel(eigenvalue=0)


@derived(needs=["synflow"], formula="log of the sum of abs(w dR/dw)", source="Tanaka et al., NeurIPS 2020")
def synflow(data: xr.Dataset) -> xr.DataArray:
    return xr.ufuncs.log(_over_tensors(data.tensor_flow_sum))


@derived(
    needs=["synflow"],
    formula="sum over weight tensors of log(sum of abs(w dR/dw)); tensors without flow are left out",
    source="SynFlow by tensor, as layer-wise proxies take it",
)
def synflow_by_tensor(data: xr.Dataset) -> xr.DataArray:
    flow = data.tensor_flow_sum
    return _over_tensors(np.log(flow.where(flow > 0)))
