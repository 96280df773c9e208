"""Statistics of a network with an initialisation and images of their own: He's initialisation, and standard normal images.

Shape legend: N = images, C = channels, P = positions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from sweetgrad.profiling.batches import Batch
from sweetgrad.profiling.blocks.layers import output_modules, whole_network
from sweetgrad.profiling.devices import formatted
from sweetgrad.profiling.estimators._layers import forward_hooks, restored_buffers
from sweetgrad.profiling.estimators.protocol import IMAGES, EstimatorError, Probe, Statistics, measures, require_real
from sweetgrad.profiling.spaces.protocol import Network
from sweetgrad.store import STATISTICS, ProfileSpec

_EPS = 1e-8
_IMAGE_SIZE = 64

_SETTINGS = {"init": "he-normal-fan-in", "input": "standard-normal", "mode": "train"}

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@contextmanager
def reinitialised(module: nn.Module, seed: int) -> Iterator[None]:
    """Give a network He's initialisation (He et al. 2015, fan-in) for a while; gradients are not recorded.

    Weights of convolutions and linear layers are normal with variance 2 / fan-in, their biases 0; scales of norms are 1, their
    shifts 0, their running statistics those of a new network. Other parameters are not changed.
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU: a GPU gets the same weights
    before = [(parameter, parameter.data, parameter.requires_grad) for parameter in module.parameters()]
    try:
        with torch.no_grad(), restored_buffers(module):
            for parameter, _, _ in before:
                parameter.requires_grad_(False)
            for layer in module.modules():
                if isinstance(layer, nn.modules.batchnorm._NormBase):
                    layer.reset_running_stats()
                # named_parameters(recurse=False) is slow, and a network has hundreds of modules.
                for name, held in layer._parameters.items():
                    value = None if held is None else _new_value(layer, name, held, generator)
                    if held is not None and value is not None:
                        held.data = torch.empty_like(held.data).copy_(value)
            yield
    finally:
        for parameter, data, requires_grad in before:
            parameter.data = data
            parameter.requires_grad_(requires_grad)


def _new_value(layer: nn.Module, name: str, parameter: Tensor, generator: torch.Generator) -> Tensor | None:
    if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
        if name == "weight":
            return nn.init.kaiming_normal_(torch.empty(parameter.shape), nonlinearity="relu", generator=generator)
        return torch.zeros(parameter.shape) if name == "bias" else None
    if isinstance(layer, _NORMS) and name in ("weight", "bias"):
        return torch.full(parameter.shape, float(name == "weight"))
    return None


@lru_cache(maxsize=8)
def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal images, always the same ones; not to be changed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@lru_cache(maxsize=8)  # one for each size of the outputs of a network
def _signs(count: int, seed: int) -> Tensor:
    """Random signs, -1 or 1, always the same ones."""
    bits = np.unpackbits(np.frombuffer(np.random.RandomState(seed).bytes(-(-count // 8)), np.uint8))[:count]
    return torch.from_numpy(bits).float().mul_(2).sub_(1)


def noise_like(probe: Probe, shape: tuple[int, ...]) -> Tensor:
    """`noise` of the seed of the profile, in the precision and on the device of its images."""
    return formatted(noise(shape, probe.seed).to(probe.x))


@dataclass
class _Features:
    """What `noise_pass` keeps of a pass: statistics by the position of a layer, and the output of the layer before.

    ``is_changed``: a layer may change its input in place, which torch does not allow for what gradients are taken of.
    """

    seed: int
    is_changed: bool
    spectra: dict[int, dict[str, float]] = field(default_factory=dict)
    last: Tensor | None = None

    def add(self, row: int, output: Tensor) -> Tensor:
        """Take the statistics of the output of a layer; returns what the network continues with."""
        self.spectra[row] = _spectrum(output.detach())
        if self.last is not None:
            self.spectra[row] |= _gradient_map(self.last, output, self.seed)
        # The graph of each layer starts anew, so only one is in memory at a time.
        self.last = output.detach().requires_grad_()
        return self.last.clone() if self.is_changed else self.last


def noise_settings(spec: ProfileSpec, batch: Batch) -> dict[str, Any]:
    """Settings of a block with He's initialisation and a batch of standard normal images."""
    return {**_SETTINGS, "batch_size": spec.batch_size, "seed": spec.seed}


@measures(STATISTICS["noise_pass"], needs="network", settings=noise_settings, tasks=IMAGES)
def noise_pass(probe: Probe) -> Statistics:
    """Spectra of the outputs of stem, cells and reductions, and of the maps of gradients between them.

    Lee & Ham, "AZ-NAS", CVPR 2024: expressivity, progressivity and trainability are functions of these. A layer that the network
    skips since its output is zero is run in the whole network.
    """
    if probe.x.ndim != 4:
        raise EstimatorError(f"noise_pass: images (N, C, H, W) are needed, got {tuple(probe.x.shape)}")
    require_real(probe.network.module, "noise_pass")
    network = probe.network
    features = _features(probe, network)
    if features.spectra.keys() != output_modules(network).keys():
        with whole_network(probe) as network:
            features = _features(probe, network)
    if not features.spectra:
        raise EstimatorError("noise_pass: the network has no layer of type stem, cell or reduction that it calls")
    names = [variable.name for variable in STATISTICS["noise_pass"].contents]
    arrays = {name: np.full(len(network.layers), np.nan) for name in names}
    for row, values in features.spectra.items():
        for name, value in values.items():
            arrays[name][row] = value
    arrays["grad_map_is_identity"] = np.nan_to_num(arrays["grad_map_is_identity"])
    return arrays


def _features(probe: Probe, network: Network) -> _Features:
    features = _Features(probe.seed, is_changed=any(getattr(m, "inplace", False) for m in network.module.modules()))
    row_of = {module: row for row, module in output_modules(network).items()}

    def on_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise EstimatorError(
                f"noise_pass: layer {network.layers[row_of[module]].name!r} must return one tensor (N, C, H, W)"
            )
        return features.add(row_of[module], output)

    images = noise_like(probe, tuple(probe.x.shape))
    with reinitialised(network.module, probe.seed), torch.enable_grad(), ExitStack() as stack:
        for module in row_of:
            stack.callback(module.register_forward_hook(on_output).remove)
        network.module(images)
    return features


def _rows(values: Tensor) -> Tensor:
    """Outputs (N, C, H, W) as (N H W, C), which is the memory order of channels-last tensors."""
    return values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])


def _spectrum(output: Tensor) -> dict[str, float]:
    """Statistics of the covariance of the channels, over images and positions."""
    rows = _rows(output)
    # The mean is taken off the products and not off the values, of which that would take a copy.
    mean = rows.mean(0).double()
    cov = (rows.T @ rows).double() / len(rows) - mean[:, None] * mean[None, :]
    found = torch.linalg.eigvalsh(cov).cpu()
    share = found / found.sum()
    singular = found.clamp(min=0).sqrt()
    part = singular / singular.sum()
    return {
        "cov_trace": float(found.sum()),
        "cov_sq_trace": float(found.square().sum()),
        # As AZ-NAS computes it. Shares that are negative by rounding are as good as 0; without any signal they are NaN.
        "spectrum_entropy": -float((share * torch.log(share.clamp(min=0) + _EPS)).sum()),
        "cov_min": float(found[0]),
        "cov_max": float(found[-1]),
        "effective_rank": math.exp(-float(torch.xlogy(part, part).sum())),
    }


def _gradient_map(before: Tensor, output: Tensor, seed: int) -> dict[str, float]:
    """Largest singular value of ``g_in' g_out``, divided by the images and positions of the output."""
    g_out = _signs(output.numel(), seed).view(output.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2).to(output)
    (g_in,) = torch.autograd.grad(output, before, g_out, allow_unused=True)
    g_in = torch.zeros_like(before) if g_in is None else g_in
    # torch.equal stops at the first difference, of tensors that are contiguous.
    is_identity = g_in.shape == g_out.shape and torch.equal(_rows(g_in), _rows(g_out))
    if g_in.shape[2:] != g_out.shape[2:]:
        stride = g_in.shape[2] // g_out.shape[2]
        if (g_out.shape[2] * stride, g_out.shape[3] * stride) != tuple(g_in.shape[2:]):
            raise EstimatorError(
                f"noise_pass: outputs of {tuple(g_in.shape[2:])} and {tuple(g_out.shape[2:])} pixels do not differ by a stride"
            )
        g_in = pixel_unshuffle(g_in, stride)
    left, right = _rows(g_in), _rows(g_out)
    product = (left.T @ right).double() / len(right)
    return {
        "grad_map_norm": float(torch.linalg.matrix_norm(product, 2)),
        "grad_map_is_identity": float(is_identity),
    }


def _noise_image_settings(spec: ProfileSpec, batch: Batch) -> dict[str, Any]:
    return {**_SETTINGS, "image_size": _IMAGE_SIZE, "seed": spec.seed}


@measures(STATISTICS["noise_image"], needs="network", settings=_noise_image_settings, tasks=IMAGES)
def noise_image(probe: Probe) -> Statistics:
    """Smallest eigenvalues and singular values of the outputs of all modules for one image.

    Jiang et al., "MeCo", NeurIPS 2023 (smallest eigenvalue of the correlation of the channels); Asthana et al., "Dextr", TMLR
    2025, first factor (smallest over largest singular value). Both sum over every module, containers and the network
    itself included; the whole network is run.
    """
    if probe.x.ndim != 4:
        raise EstimatorError(f"noise_image: images (N, C, H, W) are needed, got {tuple(probe.x.shape)}")
    require_real(probe.network.module, "noise_image")
    image = noise_like(probe, (1, probe.x.shape[1], _IMAGE_SIZE, _IMAGE_SIZE))
    seen = _Outputs()
    with (
        whole_network(probe) as network,
        reinitialised(network.module, probe.seed),
        forward_hooks(network.module.modules(), seen.add),
    ):
        network.module(image)
    values = seen.smallest()
    row_of = {
        module: row for row, layer in enumerate(network.layers) for top in layer.modules for module in top.modules()
    }
    arrays = {}
    for name, of_output in zip(("corr_min_sum", "singular_ratio_sum"), values, strict=True):
        by_layer = np.zeros(len(network.layers))
        for module, place in seen.uses:
            if module in row_of:
                by_layer[row_of[module]] += of_output[place]
        arrays[name] = by_layer
        arrays[f"{name}_network"] = sum(of_output[place] for _, place in seen.uses)
    return arrays


@dataclass
class _Outputs:
    """Outputs of all modules for one image.

    Attributes
    ----------
    uses
        Each module that was called, and the position of its output in ``matrices``. Containers return the output of their last
        module, and skips their input.
    matrices
        Of each output, products of its channels, as `_channel_products` returns them; None if the output is 0.
    """

    uses: list[tuple[nn.Module, int]] = field(default_factory=list)
    matrices: list[tuple[Tensor, Tensor] | None] = field(default_factory=list)
    _places: dict[tuple[int, int], int] = field(default_factory=dict)
    _kept: list[Tensor] = field(default_factory=list)

    def add(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        """Record one call; a forward hook."""
        if not isinstance(output, Tensor):
            return
        key = id(output), output._version  # modules that work in place increase the version
        if key not in self._places:
            self._kept.append(output)  # so that no other tensor gets its identity
            self._places[key] = len(self.matrices)
            self.matrices.append(_channel_products(output[0]) if output.any() else None)
        self.uses.append((module, self._places[key]))

    def smallest(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each output the smallest eigenvalue of the correlation, and the smallest over the largest singular value."""
        corr_min, ratio = np.zeros(len(self.matrices)), np.zeros(len(self.matrices))
        places = [place for place, matrices in enumerate(self.matrices) if matrices is not None]
        both = [matrices for matrices in self.matrices if matrices is not None]
        corr_min[places] = [values[0] for values in _eigenvalues([cov for cov, _ in both], _correlation)]
        ratio[places] = [_ratio(values) for values in _eigenvalues([gram for _, gram in both])]
        return corr_min, ratio


def _channel_products(output: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance matrix of the channels of one output (C, ...), times the positions, and its smaller Gram matrix."""
    values = output.reshape(len(output), -1).double()
    centred = values - values.mean(1, keepdim=True)
    # Not from covariances and means: of linearly dependent channels the ratio is what rounding leaves of these products.
    gram = values @ values.T if len(values) <= values.shape[1] else values.T @ values
    return centred @ centred.T, gram


def _correlation(cov: Tensor) -> Tensor:
    """Correlations of covariances (..., C, C), undefined ones 0."""
    scale = cov.diagonal(dim1=-2, dim2=-1).sqrt()
    return torch.nan_to_num(cov / scale[..., :, None] / scale[..., None, :], nan=0.0, posinf=0.0, neginf=0.0)


def _ratio(squares: NDArray[np.float64]) -> float:
    """Smallest over largest singular value, from the eigenvalues of a Gram matrix, ascending; 0 if all are 0."""
    low, high = max(float(squares[0]), 0.0), float(squares[-1])
    return math.sqrt(low / high) if high > 0 else 0.0


def _eigenvalues(
    matrices: Sequence[Tensor], change: Callable[[Tensor], Tensor] = lambda matrix: matrix
) -> list[NDArray[np.float64]]:
    """Eigenvalues, ascending, of matrices of several sizes, in their order; ``change`` is applied to all of one size first."""
    by_size: dict[int, list[int]] = {}
    for place, matrix in enumerate(matrices):
        by_size.setdefault(len(matrix), []).append(place)
    found: dict[int, NDArray[np.float64]] = {}
    for places in by_size.values():
        values = torch.linalg.eigvalsh(change(torch.stack([matrices[place] for place in places]))).cpu().numpy()
        found |= dict(zip(places, values, strict=True))
    return [found[place] for place in range(len(matrices))]
